//! `consul_sd_configs`: the services of a Consul datacenter.

use crate::config::{
    BasicAuth, HttpClient, Secret, Source, TypedUrl,
    decode::{Section, shown},
    discovery::Provider,
    http, labels,
    show::{Field, some_text, some_texts},
    yaml_out::{Shown, flag, text},
};
use crate::model::{
    hidden::{self, SECRET},
    relabel::NameValidation,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consul {
    /// Host and port.
    pub server: TypedUrl,
    pub scheme: String,
    /// Before the path of the API; begins with a slash and ends in none, or is empty.
    pub path_prefix: String,
    pub token: Option<Secret>,
    /// Empty: that of the agent that is asked.
    pub datacenter: String,
    pub namespace: String,
    pub partition: String,
    pub tag_separator: String,
    /// Any server may answer, not only the leader.
    pub allow_stale: bool,
    /// Empty: all.
    pub services: Vec<String>,
    /// A service must have all of them.
    pub tags: Vec<String>,
    pub node_meta: Vec<(String, String)>,
    /// Of the catalog, which has the names of services.
    pub filter: String,
    /// Of the health of a service, which has its instances.
    pub health_filter: String,
}

#[expect(clippy::unnecessary_wraps, reason = "of other kinds there may be none")]
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<(Provider, HttpClient)> {
    let text = |section: &mut Section<'_, '_>, key| section.text(key).unwrap_or("").to_owned();
    let texts = |section: &mut Section<'_, '_>, key| {
        section.texts(key).into_iter().map(|(text, _)| text.to_owned()).collect::<Vec<_>>()
    };
    let server = section.text("server").unwrap_or("localhost:8500").trim().to_owned();
    if server.is_empty() {
        let place = section.place_of("server");
        section.problem(place, "consul SD configuration requires a server address (`server`)");
    }
    let typed = section.text("scheme").unwrap_or("http");
    // Consul's own client takes an address with a scheme, and that one counts.
    let (scheme, server) = match server.split_once("://") {
        Some((scheme, server)) => (scheme.to_owned(), server.trim_end_matches('/').to_owned()),
        None => (typed.to_owned(), server),
    };
    check_server(section, &scheme, &server);
    let node_meta = labels::pairs(section, "node_meta", NameValidation::Utf8);
    let consul = Consul {
        server: TypedUrl::new(server),
        scheme,
        path_prefix: path_prefix(section.text("path_prefix").unwrap_or("")),
        token: section.secret("token"),
        datacenter: text(section, "datacenter"),
        namespace: text(section, "namespace"),
        partition: text(section, "partition"),
        tag_separator: section.text("tag_separator").unwrap_or(",").to_owned(),
        allow_stale: section.boolean("allow_stale").unwrap_or(true),
        services: texts(section, "services"),
        tags: texts(section, "tags"),
        node_meta: node_meta.into_iter().map(|(k, v, _)| (k.to_owned(), v.to_owned())).collect(),
        filter: text(section, "filter"),
        health_filter: text(section, "health_filter"),
    };
    let client = client(section, consul.token.is_some());
    Some((Provider::Consul(consul), client))
}

fn check_server(section: &mut Section<'_, '_>, scheme: &str, server: &str) {
    if !["http", "https"].contains(&scheme) {
        let place = section.place_of("scheme");
        let message = format!("`scheme`: expected `http` or `https`, found `{}`", shown(scheme));
        section.problem(place, message);
    } else if !server.is_empty() && super::url_fault(&format!("{scheme}://{server}/")).is_some() {
        let place = section.place_of("server");
        section.problem(place, "`server`: expected `host:port`");
    }
}

fn path_prefix(typed: &str) -> String {
    let path = typed.trim_matches('/');
    if path.is_empty() { String::new() } else { format!("/{path}") }
}

/// `username` and `password` are another way to type `basic_auth`.
fn client(section: &mut Section<'_, '_>, has_token: bool) -> HttpClient {
    let (username, password) = (section.text("username"), section.secret("password"));
    let mut client = http::client(section, true);
    if username.is_some_and(|name| !name.is_empty()) || password.is_some() {
        if client.basic_auth.is_some() {
            let place = section.place_of("basic_auth");
            section.problem(
                place,
                "at most one of consul SD configuration username and password and basic auth can be configured",
            );
        }
        client.basic_auth = Some(BasicAuth {
            username: Source::Inline(Secret::new(username.unwrap_or(""))),
            password: password.map(Source::Inline),
        });
    }
    if has_token && (client.authorization.is_some() || client.oauth2.is_some()) {
        let place = section.place_of("token");
        section.problem(
            place,
            "at most one of consul SD token, authorization, or oauth2 can be configured",
        );
    }
    client
}

impl Consul {
    pub(super) fn fields(&self) -> Vec<Field> {
        let node_meta = self.node_meta.iter().map(|(key, value)| (key.clone(), text(&**value)));
        vec![
            ("server", Some(text(hidden::url(self.server.expose())))),
            ("path_prefix", some_text(&self.path_prefix)),
            ("token", self.token.as_ref().map(|_| text(SECRET))),
            ("datacenter", some_text(&self.datacenter)),
            ("namespace", some_text(&self.namespace)),
            ("partition", some_text(&self.partition)),
            ("tag_separator", some_text(&self.tag_separator)),
            ("scheme", Some(text(&*self.scheme))),
            ("allow_stale", Some(flag(self.allow_stale))),
            ("services", some_texts(&self.services)),
            ("tags", some_texts(&self.tags)),
            ("node_meta", (!self.node_meta.is_empty()).then(|| Shown::Map(node_meta.collect()))),
            ("filter", some_text(&self.filter)),
            ("health_filter", some_text(&self.health_filter)),
        ]
    }
}
