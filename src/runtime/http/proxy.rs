//! The way to a server: straight, or through which proxy. Decided for each request by rules that are
//! Go's, as `no_proxy` and the environment are read by many programs alike.

use std::net::IpAddr;

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::{Host, Url};

use crate::config::{Environment, Proxy, ProxyRoute};

/// Longer lists are cut: each request to another host looks at all of it.
const EXCEPTIONS_MAX: usize = 10_000;

/// All ways of one set of settings.
#[derive(Debug, Default)]
pub struct Route {
    /// By the scheme of what is asked for.
    http: Proxied,
    https: Proxied,
    exceptions: Vec<Exception>,
    /// What Go leaves out wherever it has a list: this host needs no proxy to reach itself.
    skips_loopback: bool,
}

#[derive(Debug, Default)]
enum Proxied {
    #[default]
    Straight,
    Through(Box<Via>),
    /// What the environment names is no proxy.
    Fault(String),
}

/// A proxy.
#[derive(Clone)]
pub struct Via {
    /// With user and password, where it has some.
    pub(super) url: Url,
    /// Of the user in its URL.
    pub authorization: Option<HeaderValue>,
    /// For the proxy alone, when it is asked for a tunnel.
    pub connect_header: HeaderMap,
}

/// Without what nobody may see.
impl std::fmt::Debug for Via {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Via").field(&self.shown()).finish()
    }
}

impl Via {
    fn new(url: &str, connect_header: HeaderMap) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|e| format!("no URL: {e}"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(format!("`{}` proxies are not supported", url.scheme()));
        }
        if url.host().is_none() {
            return Err("no host in it".to_owned());
        }
        // As the value of a form, once what is special there alone is out of the way.
        let decoded = |text: &str| {
            let form = format!("={}", text.replace('+', "%2B").replace('&', "%26"));
            let mut pairs = url::form_urlencoded::parse(form.as_bytes());
            pairs.next().map_or_else(String::new, |(_, value)| value.into_owned())
        };
        let has_user = !url.username().is_empty() || url.password().is_some();
        let authorization = has_user.then(|| {
            let (user, password) = (decoded(url.username()), decoded(url.password().unwrap_or("")));
            let text = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
            let mut value = HeaderValue::try_from(text).expect("base64 is visible ASCII");
            value.set_sensitive(true);
            value
        });
        Ok(Self { url, authorization, connect_header })
    }

    pub fn is_https(&self) -> bool {
        self.url.scheme() == "https"
    }

    pub fn host(&self) -> Host<&str> {
        self.url.host().expect("a proxy's URL has one")
    }

    pub fn port(&self) -> u16 {
        self.url.port_or_known_default().expect("its scheme is known")
    }

    /// `host:port`, for messages.
    pub fn shown(&self) -> String {
        format!("{}:{}", self.host(), self.port())
    }
}

impl Route {
    pub fn new(proxy: Option<&Proxy>) -> Self {
        Self::of(proxy, &|name| std::env::var(name).ok())
    }

    fn of(proxy: Option<&Proxy>, environment: Environment<'_>) -> Self {
        let Some(proxy) = proxy else { return Self::default() };
        let connect_header = connect_header(proxy);
        match &proxy.route {
            ProxyRoute::Url { url, no_proxy } => {
                let through = || match Via::new(url.expose(), connect_header.clone()) {
                    Ok(via) => Proxied::Through(Box::new(via)),
                    Err(fault) => Proxied::Fault(format!("`proxy_url`: {fault}")),
                };
                Self {
                    http: through(),
                    https: through(),
                    exceptions: exceptions(no_proxy),
                    skips_loopback: !no_proxy.is_empty(),
                }
            }
            ProxyRoute::Environment => {
                let either = |names: [&str; 2]| {
                    names
                        .into_iter()
                        .filter_map(|name| Some((name.to_owned(), environment(name)?)))
                        .find(|(_, value)| !value.is_empty())
                };
                let of = |names| match either(names) {
                    Some((name, value)) => named(&name, &value, connect_header.clone()),
                    None => Proxied::Straight,
                };
                Self {
                    http: of(["HTTP_PROXY", "http_proxy"]),
                    https: of(["HTTPS_PROXY", "https_proxy"]),
                    exceptions: either(["NO_PROXY", "no_proxy"])
                        .map_or_else(Vec::new, |(_, value)| exceptions(&value)),
                    skips_loopback: true,
                }
            }
        }
    }

    /// Of all its proxies.
    pub(super) fn connect_header(&self) -> HeaderMap {
        match &self.https {
            Proxied::Through(via) => via.connect_header.clone(),
            Proxied::Straight | Proxied::Fault(_) => HeaderMap::new(),
        }
    }

    pub fn is_straight(&self) -> bool {
        matches!((&self.http, &self.https), (Proxied::Straight, Proxied::Straight))
    }

    /// The proxy for `url`; `None` goes straight.
    ///
    /// # Errors
    /// Why what is named as its proxy is none: it is then not gone without.
    pub fn to(&self, url: &Url) -> Result<Option<&Via>, String> {
        let proxied = if url.scheme() == "https" { &self.https } else { &self.http };
        if matches!(proxied, Proxied::Straight) || self.is_excepted(url) {
            return Ok(None);
        }
        match proxied {
            Proxied::Straight => Ok(None),
            Proxied::Through(via) => Ok(Some(via)),
            Proxied::Fault(fault) => Err(fault.clone()),
        }
    }

    fn is_excepted(&self, url: &Url) -> bool {
        let Some(host) = url.host() else { return false };
        let name = match host {
            Host::Domain(name) => Some(name.trim_end_matches('.').to_ascii_lowercase()),
            Host::Ipv4(_) | Host::Ipv6(_) => None,
        };
        let address: Option<IpAddr> = match host {
            Host::Domain(_) => None,
            Host::Ipv4(ip) => Some(ip.into()),
            Host::Ipv6(ip) => Some(IpAddr::from(ip).to_canonical()),
        };
        let is_here = name.as_deref() == Some("localhost")
            || address.is_some_and(|address| address.is_loopback());
        if self.skips_loopback && is_here {
            return true;
        }
        let port = url.port_or_known_default();
        self.exceptions.iter().any(|one| one.holds(name.as_deref(), address, port))
    }
}

/// Without a scheme it is one of HTTP.
fn named(variable: &str, value: &str, connect_header: HeaderMap) -> Proxied {
    let value = value.trim();
    let full = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    match Via::new(&full, connect_header) {
        Ok(via) => Proxied::Through(Box::new(via)),
        Err(fault) => Proxied::Fault(format!("invalid proxy address in `{variable}`: {fault}")),
    }
}

fn connect_header(proxy: &Proxy) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, values) in &proxy.connect_header {
        let Ok(name) = HeaderName::try_from(name.as_str()) else { continue };
        for value in values {
            // One that no header can be is left out: a refusal of the proxy then tells.
            let Ok(mut value) = HeaderValue::from_str(value.expose()) else { continue };
            value.set_sensitive(true);
            headers.append(name.clone(), value);
        }
    }
    headers
}

/// An entry of `no_proxy`.
#[derive(Debug, PartialEq)]
enum Exception {
    All,
    Network {
        address: IpAddr,
        bits: u8,
    },
    Address {
        address: IpAddr,
        port: Option<u16>,
    },
    /// `name` begins with a dot; `is_itself`: not only what is below it.
    Name {
        name: String,
        is_itself: bool,
        port: Option<u16>,
    },
}

impl Exception {
    fn holds(&self, name: Option<&str>, address: Option<IpAddr>, port: Option<u16>) -> bool {
        let is_port = |own: &Option<u16>| own.is_none() || *own == port;
        match self {
            Self::All => true,
            Self::Network { address: network, bits } => {
                address.is_some_and(|address| is_within(address, *network, *bits))
            }
            Self::Address { address: own, port: own_port } => {
                address == Some(*own) && is_port(own_port)
            }
            Self::Name { name: own, is_itself, port: own_port } => {
                name.is_some_and(|name| {
                    name.ends_with(own.as_str()) || *is_itself && name == &own[1..]
                }) && is_port(own_port)
            }
        }
    }
}

fn exceptions(list: &str) -> Vec<Exception> {
    let entries = list.split(',').map(str::trim).filter(|entry| !entry.is_empty());
    entries
        .take(EXCEPTIONS_MAX)
        .filter_map(|entry| exception(&entry.to_ascii_lowercase()))
        .collect()
}

fn exception(entry: &str) -> Option<Exception> {
    if entry == "*" {
        return Some(Exception::All);
    }
    if let Some((address, bits)) = entry.split_once('/') {
        let address: IpAddr = address.parse().ok()?;
        let bits: u8 = bits.parse().ok()?;
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        return (bits <= bits_max).then_some(Exception::Network { address, bits });
    }
    if let Ok(address) = entry.trim_matches(['[', ']']).parse() {
        return Some(Exception::Address { address, port: None });
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (entry, None),
    };
    if let Ok(address) = host.trim_matches(['[', ']']).parse() {
        return Some(Exception::Address { address, port });
    }
    let name = host.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(host);
    let is_itself = !name.starts_with('.');
    let name = if is_itself { format!(".{name}") } else { name.to_owned() };
    (name.len() > 1).then_some(Exception::Name { name, is_itself, port })
}

fn is_within(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let shifted = |value: u128, width: u8| value.checked_shr(u32::from(width - bits)).unwrap_or(0);
    match (address, network) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            shifted(one.to_bits().into(), 32) == shifted(other.to_bits().into(), 32)
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            shifted(one.to_bits(), 128) == shifted(other.to_bits(), 128)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    fn way(route: &Route, url: &str) -> String {
        match route.to(&Url::parse(url).unwrap()) {
            Ok(Some(via)) => via.shown(),
            Ok(None) => "straight".to_owned(),
            Err(fault) => fault,
        }
    }

    fn through(url: &str, no_proxy: &str) -> Route {
        let route = ProxyRoute::Url { url: Secret::new(url), no_proxy: no_proxy.to_owned() };
        Route::of(Some(&Proxy { route, connect_header: Vec::new() }), &|_| None)
    }

    #[test]
    fn exceptions_are_read_as_go_reads_them() {
        for (no_proxy, url, is_straight) in [
            ("a.b", "http://a.b/", true),
            ("a.b", "http://x.a.b/", true),
            ("a.b", "http://xa.b/", false),
            (".a.b", "http://a.b/", false),
            ("*.a.b", "http://a.b/", false),
            ("*.a.b", "http://X.A.B./", true),
            ("a.b:81", "http://a.b:81/", true),
            ("a.b:81", "http://a.b/", false),
            ("a.b:443", "https://a.b/", true),
            ("10.0.0.0/8, x", "http://10.1.2.3/", true),
            ("10.0.0.0/8", "http://11.1.2.3/", false),
            ("0.0.0.0/0", "http://11.1.2.3/", true),
            ("0.0.0.0/0", "http://a.b/", false),
            ("10.0.0.1", "http://10.0.0.1:9/", true),
            ("10.0.0.1:9", "http://10.0.0.1:8/", false),
            ("fd00::/8", "http://[fd00::1]/", true),
            ("fd00::1", "http://[fd00::1]/", true),
            ("[fd00::1]:80", "http://[fd00::1]/", true),
            ("x", "http://[::1]/", true),
            ("x", "http://localhost:9/", true),
            ("x", "http://127.0.0.2/", true),
            ("", "http://127.0.0.2/", false),
            ("*", "http://anywhere/", true),
            ("10.0.0.0/99,:,a:x,/", "http://10.0.0.1/", false),
        ] {
            let found = way(&through("http://p:3128", no_proxy), url);
            let expected = if is_straight { "straight" } else { "p:3128" };
            assert_eq!(found, expected, "{no_proxy} for {url}");
        }
    }

    #[test]
    fn the_environment_names_a_proxy_for_each_scheme() {
        let variables = [
            ("http_proxy", "u:p%20w@plain"),
            ("HTTPS_PROXY", "https://secure:8443"),
            ("NO_PROXY", "inner"),
        ];
        let of = |variables: &[(&str, &str)], url: &str| {
            let proxy = Proxy { route: ProxyRoute::Environment, connect_header: Vec::new() };
            let lookup = |name: &str| {
                variables.iter().find(|(own, _)| *own == name).map(|(_, value)| (*value).to_owned())
            };
            way(&Route::of(Some(&proxy), &lookup), url)
        };
        for (url, expected) in [
            ("http://a/", "plain:80"),
            ("https://a/", "secure:8443"),
            ("https://x.inner/", "straight"),
            ("http://127.0.0.1/", "straight"),
        ] {
            assert_eq!(of(&variables, url), expected, "{url}");
        }
        assert_eq!(of(&[], "http://a/"), "straight");
        let fault = of(&[("HTTP_PROXY", "socks5://u:hunter2@p")], "http://a/");
        assert_eq!(
            fault,
            "invalid proxy address in `HTTP_PROXY`: `socks5` proxies are not supported"
        );
    }

    #[test]
    fn a_proxy_is_told_who_asks_and_nobody_else_sees_it() {
        let route = through("http://me:hunter%202@p:1", "");
        let via = route.to(&Url::parse("http://a/").unwrap()).unwrap().unwrap();
        let expected = format!("Basic {}", BASE64_STANDARD.encode("me:hunter 2"));
        assert_eq!(via.authorization.as_ref().unwrap(), &expected);
        assert!(!format!("{route:?}").contains("hunter"), "{route:?}");
        assert!(through("http://p:1", "").to(&Url::parse("http://a/").unwrap()).unwrap().is_some());
    }
}
