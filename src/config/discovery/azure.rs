//! `azure_sd_configs`: the virtual machines of an Azure subscription, those of its scale sets too.

use crate::{
    config::{
        HttpClient, Secret,
        decode::{Section, shown},
        discovery::{Provider, port},
        http,
        show::{Field, some_text},
        yaml_out::{number, text},
    },
    model::hidden::SECRET,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Azure {
    pub environment: AzureEnvironment,
    pub authentication: AzureAuthentication,
    pub subscription_id: String,
    /// Empty where it is not set.
    pub tenant_id: String,
    /// Empty: all groups of the subscription.
    pub resource_group: String,
    pub port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureAuthentication {
    /// A registered application, of `tenant_id`.
    OAuth { client_id: String, client_secret: Secret },
    /// That of the machine; `client_id` tells which of several, and is empty for the only one.
    ManagedIdentity { client_id: String },
}

/// Which of Microsoft's clouds. No key sets its parts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AzureEnvironment {
    /// As typed.
    pub name: String,
    /// Who gives out tokens.
    pub authority: String,
    /// What is asked.
    pub endpoint: String,
    /// What a token is for.
    pub audience: String,
    /// Who gives out tokens for the identity of the machine.
    pub metadata: String,
}

impl AzureEnvironment {
    fn named(name: &str) -> Option<Self> {
        let [authority, endpoint, audience] = match name.to_ascii_uppercase().as_str() {
            "AZURECLOUD" | "AZUREPUBLICCLOUD" | "AZUREGERMANCLOUD" => [
                "https://login.microsoftonline.com",
                "https://management.azure.com",
                "https://management.core.windows.net/",
            ],
            "AZURECHINACLOUD" => [
                "https://login.chinacloudapi.cn",
                "https://management.chinacloudapi.cn",
                "https://management.core.chinacloudapi.cn",
            ],
            "AZUREUSGOVERNMENT" | "AZUREUSGOVERNMENTCLOUD" => [
                "https://login.microsoftonline.us",
                "https://management.usgovcloudapi.net",
                "https://management.core.usgovcloudapi.net",
            ],
            _ => return None,
        };
        Some(Self {
            name: name.to_owned(),
            authority: authority.to_owned(),
            endpoint: endpoint.to_owned(),
            audience: audience.to_owned(),
            metadata: "http://169.254.169.254".to_owned(),
        })
    }
}

pub(super) fn read(section: &mut Section<'_, '_>) -> Option<(Provider, HttpClient)> {
    let environment = environment(section);
    let subscription_id = text_of(section, "subscription_id");
    require(section, "subscription_id", &subscription_id);
    let tenant_id = text_of(section, "tenant_id");
    let authentication = authentication(section, &tenant_id);
    let resource_group = text_of(section, "resource_group");
    let port = port(section);
    let client = http::client(section, true);
    let azure =
        Azure { environment, authentication, subscription_id, tenant_id, resource_group, port };
    Some((Provider::Azure(azure), client))
}

fn text_of(section: &mut Section<'_, '_>, key: &'static str) -> String {
    section.text(key).unwrap_or("").to_owned()
}

fn require(section: &mut Section<'_, '_>, key: &'static str, text: &str) {
    if text.is_empty() {
        let place = section.place_of(key);
        section.problem(place, format!("azure SD configuration requires a {key}"));
    }
}

/// Prometheus takes any name, and fails at each refresh where there is no such cloud.
fn environment(section: &mut Section<'_, '_>) -> AzureEnvironment {
    let name = section.text("environment").unwrap_or("AzurePublicCloud");
    AzureEnvironment::named(name).unwrap_or_else(|| {
        let place = section.place_of("environment");
        let message = format!(
            "there is no cloud configuration matching the name {:?}; expected `AzurePublicCloud`, `AzureChinaCloud` or `AzureUSGovernment`",
            shown(name)
        );
        section.problem(place, message);
        // Run by nobody.
        AzureEnvironment::default()
    })
}

fn authentication(section: &mut Section<'_, '_>, tenant_id: &str) -> AzureAuthentication {
    let client_id = text_of(section, "client_id");
    let client_secret = section.secret("client_secret");
    let method = section.text("authentication_method").unwrap_or("OAuth");
    let place = section.place_of("authentication_method");
    match method {
        "OAuth" => {
            let client_secret = client_secret.unwrap_or_else(|| Secret::new(""));
            require(section, "tenant_id", tenant_id);
            require(section, "client_id", &client_id);
            require(section, "client_secret", client_secret.expose());
            return AzureAuthentication::OAuth { client_id, client_secret };
        }
        "ManagedIdentity" => {}
        "SDK" | "WorkloadIdentity" => section.problem(
            place,
            format!(
                "`authentication_method`: `{method}` is not supported; use `OAuth` or `ManagedIdentity`"
            ),
        ),
        unknown => {
            let message = format!(
                "unknown authentication_type {:?}. Supported types are \"OAuth\", \"ManagedIdentity\", \"SDK\" or \"WorkloadIdentity\"",
                shown(unknown)
            );
            section.problem(place, message);
        }
    }
    AzureAuthentication::ManagedIdentity { client_id }
}

impl Azure {
    pub(super) fn fields(&self) -> Vec<Field> {
        let (method, client_id, secret) = match &self.authentication {
            AzureAuthentication::OAuth { client_id, .. } => {
                ("OAuth", client_id, Some(text(SECRET)))
            }
            AzureAuthentication::ManagedIdentity { client_id } => {
                ("ManagedIdentity", client_id, None)
            }
        };
        vec![
            ("environment", some_text(&self.environment.name)),
            ("port", Some(number(self.port))),
            ("subscription_id", some_text(&self.subscription_id)),
            ("tenant_id", some_text(&self.tenant_id)),
            ("client_id", some_text(client_id)),
            ("client_secret", secret),
            ("authentication_method", Some(text(method))),
            ("resource_group", some_text(&self.resource_group)),
        ]
    }
}
