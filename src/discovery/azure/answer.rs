//! What Azure's resource manager answers, and the labels that Prometheus makes of a machine. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    discovery::{
        api::or_empty,
        meta::{host_port, sanitized, target},
    },
    model::labels::Labels,
};

/// One page of any list.
#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub(super) value: Vec<T>,
    #[serde(rename = "nextLink", default, deserialize_with = "or_empty")]
    pub(super) next_link: String,
}

#[derive(Deserialize)]
pub(super) struct ScaleSet {
    pub(super) id: String,
    pub(super) name: String,
}

/// A virtual machine of its own, or one of a scale set.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Machine {
    id: String,
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_empty")]
    location: String,
    /// Of those in a scale set.
    #[serde(default, deserialize_with = "or_empty")]
    pub(super) instance_id: String,
    #[serde(default, deserialize_with = "or_empty")]
    tags: BTreeMap<String, Option<String>>,
    #[serde(default, deserialize_with = "or_empty")]
    properties: MachineProperties,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
struct MachineProperties {
    #[serde(deserialize_with = "or_empty")]
    hardware_profile: HardwareProfile,
    #[serde(deserialize_with = "or_empty")]
    storage_profile: StorageProfile,
    #[serde(deserialize_with = "or_empty")]
    os_profile: OsProfile,
    #[serde(deserialize_with = "or_empty")]
    network_profile: NetworkProfile,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct HardwareProfile {
    #[serde(rename = "vmSize", deserialize_with = "or_empty")]
    size: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct StorageProfile {
    #[serde(deserialize_with = "or_empty")]
    os_disk: OsDisk,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OsDisk {
    #[serde(deserialize_with = "or_empty")]
    os_type: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct OsProfile {
    #[serde(deserialize_with = "or_empty")]
    computer_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct NetworkProfile {
    #[serde(deserialize_with = "or_empty")]
    network_interfaces: Vec<InterfaceReference>,
}

#[derive(Deserialize)]
struct InterfaceReference {
    id: String,
}

/// A network interface, with its public addresses written out.
#[derive(Clone, Deserialize)]
pub(super) struct Interface {
    #[serde(default, deserialize_with = "or_empty")]
    properties: Option<InterfaceProperties>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct InterfaceProperties {
    /// Absent where the machine is not allocated.
    primary: Option<bool>,
    #[serde(deserialize_with = "or_empty")]
    ip_configurations: Vec<IpConfiguration>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct IpConfiguration {
    #[serde(deserialize_with = "or_empty")]
    properties: IpProperties,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct IpProperties {
    #[serde(rename = "privateIPAddress", deserialize_with = "or_empty")]
    private: String,
    #[serde(rename = "publicIPAddress", deserialize_with = "or_empty")]
    public: PublicIp,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
struct PublicIp {
    #[serde(deserialize_with = "or_empty")]
    properties: PublicIpProperties,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct PublicIpProperties {
    #[serde(deserialize_with = "or_empty")]
    ip_address: String,
}

/// What one network interface tells of its machine.
#[derive(Debug, PartialEq)]
pub(super) enum Reach {
    /// Another interface may tell.
    Unsaid,
    /// The machine has been switched off and given back.
    Deallocated,
    Addresses {
        private: String,
        public: String,
    },
}

impl Machine {
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &str> {
        self.properties.network_profile.network_interfaces.iter().map(|it| it.id.as_str())
    }

    /// `scale_set` is empty where it is of none.
    pub(super) fn target(
        &self,
        [subscription, tenant, scale_set]: [&str; 3],
        [private, public]: [&str; 2],
        port: u16,
    ) -> Result<Labels, String> {
        let properties = &self.properties;
        let labels = [
            ("__meta_azure_machine_computer_name", properties.os_profile.computer_name.as_str()),
            ("__meta_azure_machine_id", &self.id),
            ("__meta_azure_machine_location", &self.location),
            ("__meta_azure_machine_name", &self.name),
            ("__meta_azure_machine_os_type", &properties.storage_profile.os_disk.os_type),
            ("__meta_azure_machine_private_ip", private),
            ("__meta_azure_machine_public_ip", public),
            ("__meta_azure_machine_resource_group", resource_group(&self.id)?),
            ("__meta_azure_machine_scale_set", scale_set),
            ("__meta_azure_machine_size", &properties.hardware_profile.size),
            ("__meta_azure_subscription_id", subscription),
            ("__meta_azure_tenant_id", tenant),
        ];
        let mut labels = target(host_port(private, port), labels);
        for (tag, value) in &self.tags {
            let name = format!("__meta_azure_machine_tag_{}", sanitized(tag));
            labels.set(&name, value.as_deref().unwrap_or(""));
        }
        Ok(labels)
    }
}

impl Interface {
    /// `machine` is for the message.
    pub(super) fn reach(&self, machine: &str) -> Result<Reach, String> {
        let Some(properties) = &self.properties else { return Ok(Reach::Unsaid) };
        match properties.primary {
            None => return Ok(Reach::Deallocated),
            Some(false) => return Ok(Reach::Unsaid),
            Some(true) => {}
        }
        let Some(IpConfiguration { properties }) = properties.ip_configurations.first() else {
            return Ok(Reach::Unsaid);
        };
        if properties.private.is_empty() {
            return Err(format!("unable to find a private IP for VM {machine}"));
        }
        let public = properties.public.properties.ip_address.clone();
        Ok(Reach::Addresses { private: properties.private.clone(), public })
    }
}

/// `/subscriptions/<id>/resourceGroups/<this>/providers/...`, in whatever case Azure writes it.
pub(super) fn resource_group(id: &str) -> Result<&str, String> {
    let mut parts = id.split('/').skip_while(|part| !part.eq_ignore_ascii_case("resourceGroups"));
    parts.nth(1).filter(|group| !group.is_empty()).ok_or_else(|| format!("invalid ID `{id}`"))
}

/// The last part.
pub(super) fn name_of(id: &str) -> Result<&str, String> {
    let name = id.trim_end_matches('/').rsplit('/').next();
    name.filter(|name| !name.is_empty()).ok_or_else(|| format!("invalid ID `{id}`"))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn machine(value: Value) -> Machine {
        serde_json::from_value(value).unwrap()
    }

    #[expect(clippy::needless_pass_by_value, reason = "a `json!`, as it comes")]
    fn reach(properties: Value) -> Result<Reach, String> {
        serde_json::from_value::<Interface>(json!({ "properties": properties }))
            .unwrap()
            .reach("vm")
    }

    #[test]
    fn every_label_has_its_source() {
        let id =
            "/subscriptions/s/resourceGroups/my-rg/providers/Microsoft.Compute/virtualMachines/vm1";
        let vm = machine(json!({
            "id": id, "name": "vm1", "type": "Microsoft.Compute/virtualMachines", "location": "westeurope",
            "tags": {"Team.Name": "ops", "none": null},
            "properties": {
                "vmId": "0f47b100", "provisioningState": "Succeeded",
                "hardwareProfile": {"vmSize": "Standard_D2s_v3"},
                "storageProfile": {"osDisk": {"osType": "Linux", "name": "disk"}, "dataDisks": []},
                "osProfile": {"computerName": "computer", "adminUsername": "azureuser"},
                "networkProfile": {"networkInterfaces": [
                    {"id": "/n/1", "properties": {"primary": true}}, {"id": "/n/2"},
                ]},
            },
        }));
        assert_eq!(vm.interfaces().collect::<Vec<_>>(), ["/n/1", "/n/2"]);
        let expected = [
            ("__address__", "10.0.0.4:9100"),
            ("__meta_azure_machine_computer_name", "computer"),
            ("__meta_azure_machine_id", id),
            ("__meta_azure_machine_location", "westeurope"),
            ("__meta_azure_machine_name", "vm1"),
            ("__meta_azure_machine_os_type", "Linux"),
            ("__meta_azure_machine_private_ip", "10.0.0.4"),
            ("__meta_azure_machine_public_ip", "20.1.2.3"),
            ("__meta_azure_machine_resource_group", "my-rg"),
            ("__meta_azure_machine_scale_set", "set"),
            ("__meta_azure_machine_size", "Standard_D2s_v3"),
            ("__meta_azure_machine_tag_Team_Name", "ops"),
            ("__meta_azure_subscription_id", "s"),
            ("__meta_azure_tenant_id", "t"),
        ];
        let found = vm.target(["s", "t", "set"], ["10.0.0.4", "20.1.2.3"], 9100);
        assert_eq!(found, Ok(expected.into_iter().collect()));

        let bare = machine(json!({"id": id.to_lowercase(), "name": "vm1", "properties": null}));
        let expected = [
            ("__address__", "[fd00::4]:80"),
            ("__meta_azure_machine_id", &id.to_lowercase()),
            ("__meta_azure_machine_name", "vm1"),
            ("__meta_azure_machine_private_ip", "fd00::4"),
            ("__meta_azure_machine_resource_group", "my-rg"),
            ("__meta_azure_subscription_id", "s"),
        ];
        let found = bare.target(["s", "", ""], ["fd00::4", ""], 80);
        assert_eq!(found, Ok(expected.into_iter().collect()));
        assert!(machine(json!({"id": "x", "name": "y"})).target([""; 3], [""; 2], 1).is_err());
    }

    #[test]
    fn the_first_address_of_the_primary_interface_counts() {
        let addresses = |private: &str, public: &str| {
            Ok(Reach::Addresses { private: private.into(), public: public.into() })
        };
        let public = json!({"properties": {"ipAddress": "20.1.2.3"}});
        for (properties, expected) in [
            (json!(null), Ok(Reach::Unsaid)),
            (json!({"ipConfigurations": []}), Ok(Reach::Deallocated)),
            (json!({"primary": false}), Ok(Reach::Unsaid)),
            (json!({"primary": true}), Ok(Reach::Unsaid)),
            (
                json!({"primary": true, "ipConfigurations": [
                    {"properties": {"privateIPAddress": "10.0.0.4", "publicIPAddress": public}},
                    {"properties": {"privateIPAddress": "10.0.0.5"}},
                ]}),
                addresses("10.0.0.4", "20.1.2.3"),
            ),
            (
                json!({"primary": true, "ipConfigurations": [
                    {"properties": {"privateIPAddress": "10.0.0.4", "publicIPAddress": {"id": "/p"}}},
                ]}),
                addresses("10.0.0.4", ""),
            ),
            (
                json!({"primary": true, "ipConfigurations": [{"properties": null}]}),
                Err("unable to find a private IP for VM vm".to_owned()),
            ),
        ] {
            assert_eq!(reach(properties.clone()), expected, "{properties}");
        }
    }

    #[test]
    fn ids_have_parts() {
        for (id, group, name) in [
            ("/subscriptions/s/resourceGroups/G/providers/x/y/z", Ok("G"), Ok("z")),
            ("/subscriptions/s/resourcegroups/G", Ok("G"), Ok("G")),
            ("/subscriptions/s", Err(()), Ok("s")),
            ("/resourceGroups/", Err(()), Ok("resourceGroups")),
            ("/", Err(()), Err(())),
        ] {
            assert_eq!(resource_group(id).map_err(|_| ()), group, "{id}");
            assert_eq!(name_of(id).map_err(|_| ()), name, "{id}");
        }
    }
}
