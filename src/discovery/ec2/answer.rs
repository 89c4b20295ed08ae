//! What EC2 answers, in XML, and the labels that Prometheus makes of an instance. Pure.

use std::collections::BTreeMap;

use quick_xml::de::from_str;
use serde::Deserialize;

use crate::{
    discovery::meta::{host_port, joined, sanitized, target},
    model::labels::Labels,
};

/// The place of a network interface is told by how many commas stand before it; no machine has an
/// interface behind so many.
const DEVICE_INDEX_MAX: usize = 255;
/// Of a refusal's message: it may quote a whole request.
const MESSAGE_CHARS_MAX: usize = 200;

/// One page of `DescribeInstances`.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) reservations: Vec<Reservation>,
    /// Empty on the last page.
    pub(super) next_token: String,
}

/// Why EC2 does not do what it was asked for.
#[derive(Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) code: String,
    pub(super) message: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

/// `None`: the text is no refusal.
pub(super) fn refusal(body: &[u8]) -> Option<Refusal> {
    let Refused::Response(response) = from_str(std::str::from_utf8(body).ok()?).ok()?;
    let error = response.errors.items.into_iter().next()?;
    let line = error.message.lines().next().unwrap_or("").trim();
    Some(Refusal { code: error.code, message: line.chars().take(MESSAGE_CHARS_MAX).collect() })
}

pub(super) fn instances(body: &[u8]) -> Result<Page, String> {
    let DescribedInstances::DescribeInstancesResponse(page) = decoded(body)?;
    Ok(Page { reservations: page.reservations.items, next_token: page.next_token })
}

/// The id of each zone by its name, which is another one in each account.
pub(super) fn zone_ids(body: &[u8]) -> Result<BTreeMap<String, String>, String> {
    let DescribedZones::DescribeAvailabilityZonesResponse(answer) = decoded(body)?;
    Ok(answer.zones.items.into_iter().map(|zone| (zone.name, zone.id)).collect())
}

fn decoded<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, String> {
    let text = std::str::from_utf8(body).map_err(|_| "not UTF-8 text".to_owned())?;
    from_str(text).map_err(|error| error.to_string())
}

// An answer is known by the name of its root: anything else is no empty list.

#[derive(Deserialize)]
enum Refused {
    Response(RefusedResponse),
}

#[derive(Deserialize)]
enum DescribedInstances {
    DescribeInstancesResponse(InstancesAnswer),
}

#[derive(Deserialize)]
enum DescribedZones {
    DescribeAvailabilityZonesResponse(ZonesAnswer),
}

#[derive(Deserialize)]
struct RefusedResponse {
    #[serde(rename = "Errors")]
    errors: Errors,
}

#[derive(Deserialize)]
struct Errors {
    #[serde(rename = "Error")]
    items: Vec<ErrorItem>,
}

#[derive(Deserialize)]
struct ErrorItem {
    #[serde(rename = "Code")]
    code: String,
    #[serde(rename = "Message", default)]
    message: String,
}

#[derive(Deserialize)]
struct InstancesAnswer {
    #[serde(rename = "reservationSet")]
    reservations: Set<Reservation>,
    #[serde(rename = "nextToken", default)]
    next_token: String,
}

#[derive(Deserialize)]
struct ZonesAnswer {
    #[serde(rename = "availabilityZoneInfo")]
    zones: Set<Zone>,
}

#[derive(Deserialize)]
struct Zone {
    #[serde(rename = "zoneName", default)]
    name: String,
    #[serde(rename = "zoneId", default)]
    id: String,
}

#[derive(Debug, Deserialize)]
struct Set<T> {
    #[serde(rename = "item", default = "Vec::new")]
    items: Vec<T>,
}

impl<T> Default for Set<T> {
    fn default() -> Self {
        Self { items: Vec::new() }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Reservation {
    owner_id: String,
    instances_set: Set<Instance>,
}

/// What is absent is as good as empty.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
struct Instance {
    instance_id: String,
    image_id: String,
    instance_state: State,
    private_dns_name: String,
    dns_name: String,
    instance_type: String,
    placement: Placement,
    platform: String,
    subnet_id: String,
    vpc_id: String,
    private_ip_address: String,
    ip_address: String,
    architecture: String,
    instance_lifecycle: String,
    tag_set: Set<Tag>,
    network_interface_set: Set<Interface>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct State {
    name: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Placement {
    availability_zone: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tag {
    key: String,
    value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Interface {
    subnet_id: String,
    attachment: Attachment,
    ipv6_addresses_set: Set<Ipv6Address>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Attachment {
    device_index: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Ipv6Address {
    ipv6_address: String,
    is_primary_ipv6: String,
}

impl Reservation {
    pub(super) fn instances(&self) -> usize {
        self.instances_set.items.len()
    }

    /// Those of its instances that have an address.
    pub(super) fn targets(
        &self,
        region: &str,
        port: u16,
        zone_ids: &BTreeMap<String, String>,
    ) -> impl Iterator<Item = Labels> {
        let instances = self.instances_set.items.iter();
        instances.filter_map(move |it| it.target(&self.owner_id, region, port, zone_ids))
    }

    pub(super) fn zones(&self) -> impl Iterator<Item = &str> {
        self.instances_set.items.iter().map(|it| it.placement.availability_zone.as_str())
    }
}

impl Instance {
    fn target(
        &self,
        owner_id: &str,
        region: &str,
        port: u16,
        zone_ids: &BTreeMap<String, String>,
    ) -> Option<Labels> {
        let (all_ipv6, primary_ipv6) = self.ipv6_addresses();
        let all = primary_ipv6.iter().chain(&all_ipv6);
        let default_ipv6 = all.copied().find(|address| !address.is_empty()).unwrap_or("");
        let address = [self.private_ip_address.as_str(), default_ipv6]
            .into_iter()
            .find(|address| !address.is_empty())?;
        let zone = self.placement.availability_zone.as_str();
        let has_public_ip = !self.ip_address.is_empty();
        let in_vpc = !self.vpc_id.is_empty();
        let tags = self.tag_set.items.iter();
        let tags: Vec<(String, &str)> = tags
            .map(|tag| (format!("__meta_ec2_tag_{}", sanitized(&tag.key)), tag.value.as_str()))
            .collect();
        let subnets = if in_vpc { joined(self.subnets(), ",") } else { String::new() };
        let labels = [
            ("__meta_ec2_ami", self.image_id.as_str()),
            ("__meta_ec2_architecture", &self.architecture),
            ("__meta_ec2_availability_zone", zone),
            ("__meta_ec2_availability_zone_id", zone_ids.get(zone).map_or("", String::as_str)),
            ("__meta_ec2_default_ipv6_address", default_ipv6),
            ("__meta_ec2_instance_id", &self.instance_id),
            ("__meta_ec2_instance_lifecycle", &self.instance_lifecycle),
            ("__meta_ec2_instance_state", &self.instance_state.name),
            ("__meta_ec2_instance_type", &self.instance_type),
            ("__meta_ec2_ipv6_addresses", &some_joined(&all_ipv6)),
            ("__meta_ec2_owner_id", owner_id),
            ("__meta_ec2_platform", &self.platform),
            ("__meta_ec2_primary_ipv6_addresses", &some_joined(&primary_ipv6)),
            ("__meta_ec2_primary_subnet_id", if in_vpc { &self.subnet_id } else { "" }),
            ("__meta_ec2_private_dns_name", &self.private_dns_name),
            ("__meta_ec2_private_ip", &self.private_ip_address),
            ("__meta_ec2_public_dns_name", if has_public_ip { &self.dns_name } else { "" }),
            ("__meta_ec2_public_ip", &self.ip_address),
            ("__meta_ec2_region", region),
            ("__meta_ec2_subnet_id", &subnets),
            ("__meta_ec2_vpc_id", &self.vpc_id),
        ];
        let all =
            labels.into_iter().chain(tags.iter().map(|(name, value)| (name.as_str(), *value)));
        Some(target(host_port(address, port), all))
    }

    /// Each once, in the order of the interfaces.
    fn subnets(&self) -> Vec<&str> {
        let mut subnets: Vec<&str> = Vec::new();
        for interface in self.interfaces() {
            if !subnets.contains(&interface.subnet_id.as_str()) {
                subnets.push(&interface.subnet_id);
            }
        }
        subnets
    }

    /// All, and the primary ones at the place of their interface among the devices, with empty texts
    /// for the devices that have none.
    fn ipv6_addresses(&self) -> (Vec<&str>, Vec<&str>) {
        let (mut all, mut primary) = (Vec::new(), Vec::new());
        if self.vpc_id.is_empty() {
            return (all, primary);
        }
        for interface in self.interfaces() {
            let device = interface.attachment.device_index.trim().parse::<usize>().ok();
            let device = device.filter(|device| *device <= DEVICE_INDEX_MAX);
            for Ipv6Address { ipv6_address, is_primary_ipv6 } in &interface.ipv6_addresses_set.items
            {
                if ipv6_address.is_empty() {
                    continue;
                }
                all.push(ipv6_address.as_str());
                if let Some(device) = device.filter(|_| is_primary_ipv6.trim() == "true") {
                    if primary.len() <= device {
                        primary.resize(device + 1, "");
                    }
                    primary[device] = ipv6_address;
                }
            }
        }
        (all, primary)
    }

    /// Those that are in a subnet.
    fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.network_interface_set.items.iter().filter(|it| !it.subnet_id.is_empty())
    }
}

fn some_joined(values: &[&str]) -> String {
    if values.is_empty() { String::new() } else { joined(values.iter().copied(), ",") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The labels of the instances that `item` is the XML of.
    fn targets(item: &str) -> Vec<Labels> {
        let body = format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
            <DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">
              <requestId>8f7724cf</requestId>
              <reservationSet><item>
                <reservationId>r-1</reservationId><ownerId>123456789012</ownerId><groupSet/>
                <instancesSet>{item}</instancesSet>
              </item></reservationSet>
            </DescribeInstancesResponse>"
        );
        let page = instances(body.as_bytes()).unwrap();
        assert_eq!(page.next_token, "");
        let zones = [("eu-west-1a", "euw1-az3")];
        let zones = zones.map(|(name, id)| (name.to_owned(), id.to_owned())).into();
        page.reservations.iter().flat_map(|it| it.targets("eu-west-1", 9100, &zones)).collect()
    }

    fn check(item: &str, expected: &[(&str, &str)]) {
        let expected: Labels = expected.iter().copied().collect();
        assert_eq!(targets(item), [expected], "{item}");
    }

    const FULL: &str = r"<item>
        <instanceId>i-1234567890abcdef0</instanceId>
        <imageId>ami-bff32ccc</imageId>
        <instanceState><code>16</code><name>running</name></instanceState>
        <privateDnsName>ip-192-168-1-88.eu-west-1.compute.internal</privateDnsName>
        <dnsName>ec2-54-194-252-215.eu-west-1.compute.amazonaws.com</dnsName>
        <reason/><keyName>my_keypair</keyName><amiLaunchIndex>0</amiLaunchIndex><productCodes/>
        <instanceType>t2.micro</instanceType>
        <launchTime>2018-05-08T16:46:19.000Z</launchTime>
        <placement><availabilityZone>eu-west-1a</availabilityZone><groupName/>
          <tenancy>default</tenancy></placement>
        <platform>windows</platform>
        <monitoring><state>disabled</state></monitoring>
        <subnetId>subnet-56f5f633</subnetId><vpcId>vpc-11112222</vpcId>
        <privateIpAddress>192.168.1.88</privateIpAddress><ipAddress>54.194.252.215</ipAddress>
        <sourceDestCheck>true</sourceDestCheck>
        <architecture>x86_64</architecture>
        <instanceLifecycle>spot</instanceLifecycle>
        <blockDeviceMapping><item><deviceName>/dev/xvda</deviceName></item></blockDeviceMapping>
        <tagSet>
          <item><key>Name</key><value>Server &amp; One</value></item>
          <item><key>aws:auto/group</key><value>web</value></item>
          <item><key>empty</key><value/></item>
        </tagSet>
        <networkInterfaceSet>
          <item><networkInterfaceId>eni-2</networkInterfaceId><subnetId>subnet-2</subnetId>
            <attachment><attachmentId>a2</attachmentId><deviceIndex>2</deviceIndex></attachment>
            <ipv6AddressesSet>
              <item><ipv6Address>2001:db8::21</ipv6Address><isPrimaryIpv6>false</isPrimaryIpv6></item>
              <item><ipv6Address>2001:db8::22</ipv6Address><isPrimaryIpv6>true</isPrimaryIpv6></item>
            </ipv6AddressesSet></item>
          <item><networkInterfaceId>eni-1</networkInterfaceId><subnetId>subnet-56f5f633</subnetId>
            <attachment><deviceIndex>0</deviceIndex></attachment><ipv6AddressesSet/></item>
          <item><subnetId>subnet-2</subnetId></item>
          <item><ipv6AddressesSet><item><ipv6Address>2001:db8::f</ipv6Address></item></ipv6AddressesSet></item>
        </networkInterfaceSet>
      </item>";

    #[test]
    fn every_label_has_its_source() {
        check(
            FULL,
            &[
                ("__address__", "192.168.1.88:9100"),
                ("__meta_ec2_ami", "ami-bff32ccc"),
                ("__meta_ec2_architecture", "x86_64"),
                ("__meta_ec2_availability_zone", "eu-west-1a"),
                ("__meta_ec2_availability_zone_id", "euw1-az3"),
                ("__meta_ec2_default_ipv6_address", "2001:db8::22"),
                ("__meta_ec2_instance_id", "i-1234567890abcdef0"),
                ("__meta_ec2_instance_lifecycle", "spot"),
                ("__meta_ec2_instance_state", "running"),
                ("__meta_ec2_instance_type", "t2.micro"),
                ("__meta_ec2_ipv6_addresses", ",2001:db8::21,2001:db8::22,"),
                ("__meta_ec2_owner_id", "123456789012"),
                ("__meta_ec2_platform", "windows"),
                ("__meta_ec2_primary_ipv6_addresses", ",,,2001:db8::22,"),
                ("__meta_ec2_primary_subnet_id", "subnet-56f5f633"),
                ("__meta_ec2_private_dns_name", "ip-192-168-1-88.eu-west-1.compute.internal"),
                ("__meta_ec2_private_ip", "192.168.1.88"),
                (
                    "__meta_ec2_public_dns_name",
                    "ec2-54-194-252-215.eu-west-1.compute.amazonaws.com",
                ),
                ("__meta_ec2_public_ip", "54.194.252.215"),
                ("__meta_ec2_region", "eu-west-1"),
                ("__meta_ec2_subnet_id", ",subnet-2,subnet-56f5f633,"),
                ("__meta_ec2_tag_Name", "Server & One"),
                ("__meta_ec2_tag_aws_auto_group", "web"),
                ("__meta_ec2_vpc_id", "vpc-11112222"),
            ],
        );
    }

    #[test]
    fn what_is_absent_makes_no_label() {
        let always = [("__meta_ec2_owner_id", "123456789012"), ("__meta_ec2_region", "eu-west-1")];
        let with = |labels: &[(&'static str, &'static str)]| [&always, labels].concat();
        // No address at all: terminated, or not yet started.
        assert_eq!(targets("<item><instanceId>i-1</instanceId></item>"), []);
        check(
            "<item><privateIpAddress>10.0.0.1</privateIpAddress><dnsName>d</dnsName>
             <subnetId>s</subnetId><placement><availabilityZone>new</availabilityZone></placement></item>",
            &with(&[
                ("__address__", "10.0.0.1:9100"),
                ("__meta_ec2_private_ip", "10.0.0.1"),
                ("__meta_ec2_availability_zone", "new"),
            ]),
        );
        // A network without IPv4.
        check(
            "<item><vpcId>v</vpcId><networkInterfaceSet><item><subnetId>s</subnetId>
             <attachment><deviceIndex>4294967295</deviceIndex></attachment><ipv6AddressesSet>
             <item><ipv6Address>2001:db8::1</ipv6Address><isPrimaryIpv6>true</isPrimaryIpv6></item>
             </ipv6AddressesSet></item></networkInterfaceSet></item>",
            &with(&[
                ("__address__", "[2001:db8::1]:9100"),
                ("__meta_ec2_default_ipv6_address", "2001:db8::1"),
                ("__meta_ec2_ipv6_addresses", ",2001:db8::1,"),
                ("__meta_ec2_subnet_id", ",s,"),
                ("__meta_ec2_vpc_id", "v"),
            ]),
        );
    }

    #[test]
    fn anything_else_is_no_empty_list() {
        for body in [
            "",
            "<html><body>Sign in</body></html>",
            "{}",
            "<DescribeInstancesResponse/>",
            "<DescribeInstancesResponse><reservationSet><item>",
            "<DescribeAvailabilityZonesResponse><availabilityZoneInfo/></DescribeAvailabilityZonesResponse>",
        ] {
            assert!(instances(body.as_bytes()).is_err(), "{body}");
        }
        assert!(instances(b"\xff").is_err());
        let none = "<DescribeInstancesResponse><reservationSet/><nextToken>t</nextToken></DescribeInstancesResponse>";
        let page = instances(none.as_bytes()).unwrap();
        assert_eq!((page.reservations.len(), page.next_token.as_str()), (0, "t"));
    }

    #[test]
    fn a_refusal_is_told_in_a_line() {
        let long = "x".repeat(1_000);
        for (message, expected) in [
            ("no such\n key AKIA", "no such"),
            ("", ""),
            (long.as_str(), &long[..MESSAGE_CHARS_MAX]),
        ] {
            let body = format!(
                "<?xml version=\"1.0\"?><Response><Errors><Error><Code>AuthFailure</Code>
                 <Message>{message}</Message></Error></Errors><RequestID>1</RequestID></Response>"
            );
            let expected = Refusal { code: "AuthFailure".into(), message: expected.into() };
            assert_eq!(refusal(body.as_bytes()), Some(expected));
        }
        assert_eq!(refusal(b"<html/>"), None);
        assert_eq!(refusal(b"<Response><Errors/></Response>"), None);
    }

    #[test]
    fn zones_have_ids() {
        let body = "<DescribeAvailabilityZonesResponse><availabilityZoneInfo>
            <item><zoneName>us-east-1a</zoneName><zoneState>available</zoneState><zoneId>use1-az4</zoneId></item>
            <item><zoneName>us-east-1b</zoneName><messageSet/><zoneId>use1-az6</zoneId></item>
            </availabilityZoneInfo></DescribeAvailabilityZonesResponse>";
        let zones = zone_ids(body.as_bytes()).unwrap();
        let zones: Vec<_> = zones.iter().map(|(name, id)| format!("{name}={id}")).collect();
        assert_eq!(zones, ["us-east-1a=use1-az4", "us-east-1b=use1-az6"]);
        assert!(zone_ids(b"<Response/>").is_err());
    }
}
