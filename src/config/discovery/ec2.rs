//! `ec2_sd_configs`: the instances of an AWS account in one region.

use crate::config::{
    HttpClient, SigV4, TypedUrl,
    decode::{Findings, Section},
    discovery::{Provider, port, url_fault},
    http,
    show::{Field, some_list, texts, url},
    yaml::Node,
    yaml_out::{Shown, map, number, text},
};

#[derive(Clone, Debug, PartialEq)]
pub struct Ec2 {
    /// Who asks, and in which region.
    pub sigv4: SigV4,
    /// `None`: that of the region.
    pub endpoint: Option<TypedUrl>,
    pub port: u16,
    /// Which instances EC2 is asked for; all of them hold at once.
    pub filters: Vec<Ec2Filter>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ec2Filter {
    pub name: String,
    /// Any of them.
    pub values: Vec<String>,
}

#[expect(clippy::unnecessary_wraps, reason = "of other kinds there may be none")]
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<(Provider, HttpClient)> {
    let endpoint = endpoint(section);
    let sigv4 = http::sigv4::aws(section, "ec2");
    let port = port(section);
    let nodes = section.entries("filters", "empty or null section in filters");
    let filters = nodes.into_iter().filter_map(|node| filter(node, section.findings)).collect();
    let client = http::client(section, true);
    Some((Provider::Ec2(Ec2 { sigv4, endpoint, port, filters }), client))
}

/// A bare host is asked over HTTPS.
fn endpoint(section: &mut Section<'_, '_>) -> Option<TypedUrl> {
    let typed = section.text("endpoint").filter(|typed| !typed.is_empty())?;
    let endpoint =
        if typed.contains("://") { typed.to_owned() } else { format!("https://{typed}") };
    if let Some(fault) = url_fault(&endpoint) {
        let place = section.place_of("endpoint");
        section.problem(place, format!("`endpoint`: {fault}"));
    }
    Some(TypedUrl::new(endpoint))
}

fn filter(node: &Node, findings: &mut Findings) -> Option<Ec2Filter> {
    let mut section = Section::open(node, "filters", findings)?;
    let name = section.text("name").unwrap_or("").to_owned();
    let values: Vec<String> =
        section.texts("values").into_iter().map(|(value, _)| value.to_owned()).collect();
    if values.is_empty() {
        section.problem(node.place, "EC2 SD configuration filter values cannot be empty");
    }
    section.close();
    Some(Ec2Filter { name, values })
}

impl Ec2 {
    pub(super) fn fields(&self) -> Vec<Field> {
        let filters: Vec<Shown> = self.filters.iter().map(Ec2Filter::shown).collect();
        let mut fields = http::shown::aws(&self.sigv4);
        // A key of destinations alone.
        fields.retain(|(key, _)| *key != "service_name");
        fields.extend([
            ("endpoint", self.endpoint.as_ref().map(|endpoint| url(endpoint.expose()))),
            ("port", Some(number(self.port))),
            ("filters", some_list(filters)),
        ]);
        fields
    }
}

impl Ec2Filter {
    fn shown(&self) -> Shown {
        map([("name", Some(text(&*self.name))), ("values", Some(texts(&self.values)))])
    }
}
