//! `digitalocean_sd_configs`: the droplets of an account.

use crate::config::{
    HttpClient,
    decode::Section,
    discovery::{Provider, port},
    http,
    show::Field,
    yaml_out::number,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigitalOcean {
    /// The URL of the API. No key sets it.
    pub endpoint: String,
    pub port: u16,
}

#[expect(clippy::unnecessary_wraps, reason = "of other kinds there may be none")]
pub(super) fn read(section: &mut Section<'_, '_>) -> Option<(Provider, HttpClient)> {
    let digitalocean =
        DigitalOcean { endpoint: "https://api.digitalocean.com".to_owned(), port: port(section) };
    Some((Provider::DigitalOcean(digitalocean), http::client(section, true)))
}

impl DigitalOcean {
    pub(super) fn fields(&self) -> Vec<Field> {
        vec![("port", Some(number(self.port)))]
    }
}
