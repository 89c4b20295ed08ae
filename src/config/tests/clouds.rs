//! `ec2_sd_configs`, `gce_sd_configs`, `azure_sd_configs` and `openstack_sd_configs`.

use super::{check, check_warnings, job, read};
use crate::config::{
    AzureAuthentication, Discovery, OpenStackAvailability, OpenStackRole, Provider, show,
};

/// Of the only discovery in `keys`, the inside of a job: what is asked, and how often in seconds.
fn provider(keys: &str) -> (Provider, u64) {
    let job = job(keys);
    let [Discovery::Polled(polled)] = &job.discovery[..] else { panic!("not one, polled") };
    (polled.provider.clone(), polled.refresh_interval.as_secs())
}

#[test]
fn what_is_left_out_is_as_in_prometheus() {
    let (found, seconds) = provider("  ec2_sd_configs: [{}]\n");
    let Provider::Ec2(ec2) = found else { panic!() };
    assert_eq!((seconds, ec2.port, &*ec2.sigv4.service), (60, 80, "ec2"));
    assert_eq!((ec2.endpoint, ec2.sigv4.region, ec2.filters), (None, None, Vec::new()));

    let (found, seconds) = provider("  gce_sd_configs: [{project: p, zone: z}]\n");
    let Provider::Gce(gce) = found else { panic!() };
    assert_eq!((seconds, gce.port, &*gce.tag_separator, &*gce.filter), (60, 80, ",", ""));

    let keys = "  azure_sd_configs: [{subscription_id: s, tenant_id: t, client_id: c, client_secret: x}]\n";
    let (found, seconds) = provider(keys);
    let Provider::Azure(azure) = found else { panic!() };
    assert_eq!((seconds, azure.port), (300, 80));
    assert_eq!(azure.environment.endpoint, "https://management.azure.com");
    assert!(matches!(azure.authentication, AzureAuthentication::OAuth { .. }));

    let (found, seconds) = provider("  openstack_sd_configs: [{role: instance, region: r}]\n");
    let Provider::OpenStack(openstack) = found else { panic!() };
    assert_eq!((seconds, openstack.port, openstack.all_tenants), (60, 80, false));
    assert_eq!(openstack.availability, OpenStackAvailability::Public);
    assert_eq!((openstack.role, openstack.identity), (OpenStackRole::Instance, None));
}

#[test]
fn a_cloud_is_known_by_its_name() {
    for (name, endpoint) in [
        ("AzureCloud", "https://management.azure.com"),
        ("azurechinacloud", "https://management.chinacloudapi.cn"),
        ("AZUREUSGOVERNMENT", "https://management.usgovcloudapi.net"),
    ] {
        let keys = format!(
            "  azure_sd_configs: [{{subscription_id: s, authentication_method: ManagedIdentity, environment: {name}}}]\n"
        );
        let (Provider::Azure(azure), _) = provider(&keys) else { panic!() };
        assert_eq!(azure.environment.endpoint, endpoint);
    }
}

#[test]
fn a_bare_host_of_ec2_is_asked_over_https() {
    for (typed, expected) in
        [("ec2.internal", "https://ec2.internal"), ("http://e:1", "http://e:1")]
    {
        let keys = format!("  ec2_sd_configs: [{{region: r, endpoint: '{typed}'}}]\n");
        let (Provider::Ec2(ec2), _) = provider(&keys) else { panic!() };
        assert_eq!(ec2.endpoint.as_ref().map(crate::config::TypedUrl::expose), Some(expected));
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place() {
    check(
        "scrape_configs:\n- job_name: a\n  ec2_sd_configs:\n  - {filters: [{name: n}, null], endpoint: 'http://'}\n  - {regions: x}\n  gce_sd_configs: [{}]\n  azure_sd_configs:\n  - {environment: Mars}\n  - {subscription_id: s, authentication_method: SDK}\n  - {subscription_id: s, authentication_method: x}\n  openstack_sd_configs:\n  - {}\n  - {role: x, region: r, availability: invalid}\n",
        &[
            "4:16: EC2 SD configuration filter values cannot be empty",
            "4:27: empty or null section in filters",
            "4:34: `endpoint`: host is missing in URL",
            "5:6: unknown key `regions` in `ec2_sd_configs`; did you mean `region`?",
            "6:20: GCE SD configuration requires a project",
            "6:20: GCE SD configuration requires a zone",
            "8:5: azure SD configuration requires a subscription_id",
            "8:5: azure SD configuration requires a tenant_id",
            "8:5: azure SD configuration requires a client_id",
            "8:5: azure SD configuration requires a client_secret",
            "8:6: there is no cloud configuration matching the name \"Mars\"",
            "9:26: `authentication_method`: `SDK` is not supported",
            "10:26: unknown authentication_type \"x\". Supported types are \"OAuth\", \"ManagedIdentity\", \"SDK\" or \"WorkloadIdentity\"",
            "12:5: role missing (one of: instance, hypervisor, loadbalancer)",
            "12:5: openstack SD configuration requires a region",
            "13:6: unknown OpenStack SD role \"x\"",
            "13:26: unknown availability invalid, must be one of admin, internal or public",
        ],
    );
}

#[test]
fn an_identity_without_its_endpoint_is_told() {
    check_warnings(
        "scrape_configs:\n- job_name: a\n  openstack_sd_configs:\n  - {role: instance, region: r, username: u}\n  - {role: instance, region: r, username: u, identity_endpoint: 'http://k'}\n  - {role: instance, region: r}\n",
        &["4:5: `openstack_sd_configs`: without `identity_endpoint`"],
    );
}

#[test]
fn no_secret_is_shown() {
    let text = "scrape_configs:\n- job_name: a\n  ec2_sd_configs:\n  - {region: r, access_key: a, secret_key: hush, role_arn: arn, profile: p, endpoint: 'http://u:hush@h', filters: [{name: n, values: [v]}]}\n  gce_sd_configs: [{project: p, zone: z, filter: f}]\n  azure_sd_configs: [{subscription_id: s, tenant_id: t, client_id: c, client_secret: hush, resource_group: g}]\n  openstack_sd_configs:\n  - {role: hypervisor, region: r, identity_endpoint: 'http://k', username: u, password: hush, domain_name: d, application_credential_id: i, application_credential_secret: hush}\n";
    let config = read(text).unwrap();
    let shown = show::show(&config);
    assert!(!shown.contains("hush"), "{shown}");
    let job = format!("{:?}", config.jobs[0]);
    assert!(!job.replace("u:hush@h", "").contains("hush"), "{job}");
    for line in [
        "secret_key: <secret>",
        "client_secret: <secret>",
        "password: <secret>",
        "application_credential_secret: <secret>",
        "role_arn: arn",
        "resource_group: g",
        "filter: f",
        "domain_name: d",
    ] {
        assert!(shown.contains(line), "{line}\n{shown}");
    }
    // What is shown means the same.
    assert!(read(&shown.replace("<secret>", "hush")).is_ok());
}
