//! `gce_sd_configs`: the instances of a Google Cloud project in one zone. Who asks is found where
//! Google's own tools look for it, when the project is asked.

use crate::config::{
    HttpClient,
    decode::Section,
    discovery::{Provider, port},
    show::{Field, some_text},
    yaml_out::{number, text},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gce {
    pub project: String,
    pub zone: String,
    /// Which instances Google is asked for; empty for all.
    pub filter: String,
    pub tag_separator: String,
    pub port: u16,
    /// What is asked. No key sets it.
    pub endpoint: String,
}

#[expect(clippy::unnecessary_wraps, reason = "of other kinds there may be none")]
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<(Provider, HttpClient)> {
    let mut required = |key: &'static str| {
        let value = section.text(key).unwrap_or("").to_owned();
        if value.is_empty() {
            let place = section.place_of(key);
            section.problem(place, format!("GCE SD configuration requires a {key}"));
        }
        value
    };
    let (project, zone) = (required("project"), required("zone"));
    let filter = section.text("filter").unwrap_or("").to_owned();
    let tag_separator = section.text("tag_separator").unwrap_or(",").to_owned();
    let port = port(section);
    let endpoint = "https://compute.googleapis.com".to_owned();
    let client = HttpClient { follow_redirects: true, enable_http2: true, ..HttpClient::default() };
    Some((Provider::Gce(Gce { project, zone, filter, tag_separator, port, endpoint }), client))
}

impl Gce {
    pub(super) fn fields(&self) -> Vec<Field> {
        vec![
            ("project", some_text(&self.project)),
            ("zone", some_text(&self.zone)),
            ("filter", some_text(&self.filter)),
            ("port", Some(number(self.port))),
            ("tag_separator", Some(text(&*self.tag_separator))),
        ]
    }
}
