//! EC2 and the metadata service of an instance as one fake.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::*;
use crate::{
    config::{Ec2Filter, Secret, SigV4, Source},
    discovery::fake_cloud::{Asked, FakeCloud, Reply, reply},
    model::target::ADDRESS,
};

#[derive(Default)]
struct Behaviour {
    refuses: AtomicBool,
    refuses_zones: AtomicBool,
}

fn parameter(asked: &Asked, name: &str) -> String {
    let mut pairs = url::form_urlencoded::parse(asked.body.as_bytes());
    pairs.find(|(own, _)| own == name).map_or_else(String::new, |(_, value)| value.into_owned())
}

fn refused(code: &str) -> Reply {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Response><Errors><Error><Code>{code}</Code>
         <Message>AWS was not able to validate the provided access credentials</Message>
         </Error></Errors><RequestID>ea966190</RequestID></Response>"
    );
    reply(401, body)
}

fn answer(asked: &Asked, behaviour: &Behaviour) -> Reply {
    match (asked.method.as_str(), asked.path.as_str()) {
        ("PUT", "/latest/api/token") => return reply(200, "imds-token"),
        ("GET", "/latest/meta-data/placement/region") => {
            assert_eq!(asked.header("x-aws-ec2-metadata-token"), "imds-token");
            return reply(200, "eu-west-1");
        }
        ("GET", path) if path.starts_with("/latest/") => return reply(404, ""),
        _ => {}
    }
    assert_eq!(
        (asked.method.as_str(), parameter(asked, "Version").as_str()),
        ("POST", API_VERSION)
    );
    let authorization = asked.header("authorization");
    let is_signed = authorization.starts_with("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        && authorization.contains("/eu-west-1/ec2/aws4_request, ")
        && !asked.header("x-amz-date").is_empty();
    if !is_signed || behaviour.refuses.load(Ordering::SeqCst) {
        return refused("AuthFailure");
    }
    match parameter(asked, "Action").as_str() {
        "DescribeAvailabilityZones" if behaviour.refuses_zones.load(Ordering::SeqCst) => {
            refused("UnauthorizedOperation")
        }
        "DescribeAvailabilityZones" => reply(
            200,
            "<DescribeAvailabilityZonesResponse><availabilityZoneInfo>
             <item><zoneName>eu-west-1a</zoneName><zoneId>euw1-az3</zoneId></item>
             </availabilityZoneInfo></DescribeAvailabilityZonesResponse>",
        ),
        "DescribeInstances" => {
            let next = parameter(asked, "NextToken");
            let (address, more) = if next.is_empty() {
                ("10.0.0.1", "<nextToken>a+b/c=</nextToken>")
            } else {
                ("10.0.0.2", "")
            };
            assert!(next.is_empty() || next == "a+b/c=", "{next}");
            reply(
                200,
                format!(
                    "<DescribeInstancesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">
                     <reservationSet><item><instancesSet><item>
                       <privateIpAddress>{address}</privateIpAddress>
                       <placement><availabilityZone>eu-west-1a</availabilityZone></placement>
                     </item></instancesSet></item></reservationSet>{more}
                     </DescribeInstancesResponse>"
                ),
            )
        }
        other => reply(400, format!("no action {other}")),
    }
}

struct Cloud {
    api: FakeCloud,
    behaviour: Arc<Behaviour>,
    source: Ec2,
}

impl Cloud {
    async fn new(region: Option<&str>) -> Self {
        let behaviour = Arc::new(Behaviour::default());
        let own = Arc::clone(&behaviour);
        let api = FakeCloud::start(move |asked| answer(asked, &own)).await;
        let source = source(&api.url, region);
        Self { api, behaviour, source }
    }

    /// The addresses, each with the id of its zone.
    async fn refresh(&mut self) -> Result<Vec<String>, String> {
        let groups = self.source.refresh().await?;
        assert_eq!(groups.len(), 1);
        assert_eq!(groups[0].source, "eu-west-1");
        let zone = "__meta_ec2_availability_zone_id";
        let targets = groups[0].targets.iter();
        Ok(targets.map(|it| format!("{} {}", it.get(ADDRESS), it.get(zone))).collect())
    }
}

fn source(url: &str, region: Option<&str>) -> Ec2 {
    let sigv4 = SigV4 {
        service: "ec2".into(),
        region: region.map(str::to_owned),
        access_key: Some("AKIDEXAMPLE".into()),
        secret_key: Some(Source::Inline(Secret::new("hunter2"))),
        ..SigV4::default()
    };
    let filters = vec![
        Ec2Filter { name: "tag:env".into(), values: vec!["prod".into(), "a&b".into()] },
        Ec2Filter { name: "instance-state-name".into(), values: vec!["running".into()] },
    ];
    let settings =
        Settings { sigv4, endpoint: Some(crate::config::TypedUrl::new(url)), port: 9100, filters };
    let client = HttpClient { follow_redirects: true, ..HttpClient::default() };
    let environment = Environment::from_iter([("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)]);
    Ec2::with(settings, Duration::from_secs(60), &client, environment)
}

#[tokio::test]
async fn all_pages_are_asked_for_with_the_filters() {
    let mut cloud = Cloud::new(Some("eu-west-1")).await;
    let both = ["10.0.0.1:9100 euw1-az3", "10.0.0.2:9100 euw1-az3"];
    assert_eq!(cloud.refresh().await.unwrap(), both);
    let asked = cloud.api.asked();
    let actions: Vec<String> = asked.iter().map(|it| parameter(it, "Action")).collect();
    assert_eq!(actions, ["DescribeAvailabilityZones", "DescribeInstances", "DescribeInstances"]);
    for page in &asked[1..] {
        for (name, expected) in [
            ("MaxResults", "1000"),
            ("Filter.1.Name", "tag:env"),
            ("Filter.1.Value.1", "prod"),
            ("Filter.1.Value.2", "a&b"),
            ("Filter.2.Name", "instance-state-name"),
            ("Filter.2.Value.1", "running"),
            ("Filter.3.Name", ""),
        ] {
            assert_eq!(parameter(page, name), expected, "{name}");
        }
        assert!(!page.body.contains("hunter2"));
    }
    // The zones of an account stay.
    assert_eq!(cloud.refresh().await.unwrap(), both);
    assert_eq!(cloud.api.asked().len(), 2);
}

#[tokio::test]
async fn the_region_is_that_of_the_machine_where_none_is_set() {
    let mut cloud = Cloud::new(None).await;
    for expected in [2, 0] {
        cloud.refresh().await.unwrap();
        let asked = cloud.api.asked();
        let metadata = asked.iter().filter(|it| it.path.starts_with("/latest/")).count();
        // Asking for keys as well is not needed, and not refused either.
        assert!(if expected == 0 { metadata == 0 } else { metadata >= expected }, "{metadata}");
    }
}

#[tokio::test]
async fn zones_that_may_not_be_listed_are_left_out() {
    let mut cloud = Cloud::new(Some("eu-west-1")).await;
    cloud.behaviour.refuses_zones.store(true, Ordering::SeqCst);
    assert_eq!(cloud.refresh().await.unwrap(), ["10.0.0.1:9100 ", "10.0.0.2:9100 "]);
    cloud.behaviour.refuses_zones.store(false, Ordering::SeqCst);
    assert_eq!(cloud.refresh().await.unwrap()[0], "10.0.0.1:9100 euw1-az3");
}

#[tokio::test]
async fn a_refusal_is_told_with_its_reason_and_passes() {
    let mut cloud = Cloud::new(Some("eu-west-1")).await;
    cloud.behaviour.refuses.store(true, Ordering::SeqCst);
    let fault = cloud.refresh().await.unwrap_err();
    let expected = "401 Unauthorized: AuthFailure: AWS was not able to validate the provided access credentials";
    assert!(fault.contains(expected), "{fault}");
    assert!(!fault.contains("hunter2") && !fault.contains("AKID"), "{fault}");
    cloud.behaviour.refuses.store(false, Ordering::SeqCst);
    assert_eq!(cloud.refresh().await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_answer_that_is_none_is_a_fault() {
    for (status, body, expected) in [
        (200, "<html>Sign in</html>", "unexpected answer"),
        (200, "", "unexpected answer"),
        (
            503,
            "<Response><Errors><Error><Code>RequestLimitExceeded</Code></Error></Errors></Response>",
            "RequestLimitExceeded",
        ),
        (500, "hunter2", "500"),
    ] {
        let api = FakeCloud::start(move |_| reply(status, body)).await;
        let fault = source(&api.url, Some("eu-west-1")).refresh().await.unwrap_err();
        assert!(fault.contains(expected) && !fault.contains("hunter2"), "{body}: {fault}");
    }
    // A list that never ends.
    let endless = "<DescribeInstancesResponse><reservationSet/><nextToken>t</nextToken></DescribeInstancesResponse>";
    let api = FakeCloud::start(move |_| reply(200, endless)).await;
    let fault = source(&api.url, Some("eu-west-1")).refresh().await.unwrap_err();
    assert!(fault.contains("pages"), "{fault}");
}

#[test]
fn each_partition_has_its_domain() {
    for (region, expected) in [
        ("us-east-1", "https://ec2.us-east-1.amazonaws.com/"),
        ("us-gov-west-1", "https://ec2.us-gov-west-1.amazonaws.com/"),
        ("cn-north-1", "https://ec2.cn-north-1.amazonaws.com.cn/"),
        ("us-iso-east-1", "https://ec2.us-iso-east-1.c2s.ic.gov/"),
        ("us-isob-east-1", "https://ec2.us-isob-east-1.sc2s.sgov.gov/"),
        ("eusc-de-east-1", "https://ec2.eusc-de-east-1.amazonaws.eu/"),
    ] {
        assert_eq!(regional(region), expected);
    }
}
