//! `nomad_sd_configs`: the services that Nomad itself has registered.

use crate::config::{
    HttpClient, TypedUrl,
    decode::Section,
    discovery::Provider,
    http,
    show::{Field, some_text, url},
    yaml_out::flag,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nomad {
    /// The URL of the API.
    pub server: TypedUrl,
    pub region: String,
    pub namespace: String,
    /// Any server may answer, not only the leader.
    pub allow_stale: bool,
    pub tag_separator: String,
}

#[expect(clippy::unnecessary_wraps, reason = "of other kinds there may be none")]
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<(Provider, HttpClient)> {
    let server = section.text("server").unwrap_or("http://localhost:4646").trim().to_owned();
    if server.is_empty() {
        let place = section.place_of("server");
        section.problem(place, "nomad SD configuration requires a server address (`server`)");
    } else if let Some(fault) = super::url_fault(&server) {
        let place = section.place_of("server");
        section.problem(place, format!("`server`: {fault}"));
    }
    let nomad = Nomad {
        server: TypedUrl::new(server),
        region: section.text("region").unwrap_or("global").to_owned(),
        namespace: section.text("namespace").unwrap_or("default").to_owned(),
        allow_stale: section.boolean("allow_stale").unwrap_or(true),
        tag_separator: section.text("tag_separator").unwrap_or(",").to_owned(),
    };
    Some((Provider::Nomad(nomad), http::client(section, true)))
}

impl Nomad {
    pub(super) fn fields(&self) -> Vec<Field> {
        vec![
            ("server", Some(url(self.server.expose()))),
            ("region", some_text(&self.region)),
            ("namespace", some_text(&self.namespace)),
            ("allow_stale", Some(flag(self.allow_stale))),
            ("tag_separator", some_text(&self.tag_separator)),
        ]
    }
}
