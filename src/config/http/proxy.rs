//! Through which proxy a server is reached: `proxy_url` and what belongs to it, inline among the keys
//! of a client or of its `oauth2`.

use crate::config::{
    Proxy, ProxyRoute, Secret,
    decode::{Section, shown},
    discovery,
    http::is_header_name,
};

/// More are refused: no proxy asks for them.
const CONNECT_HEADERS_MAX: usize = 100;

pub(super) fn proxy(section: &mut Section<'_, '_>) -> Option<Proxy> {
    let url = section.secret("proxy_url");
    let no_proxy = section.text("no_proxy").unwrap_or("").trim();
    let from_environment = section.boolean("proxy_from_environment").unwrap_or(false);
    let connect_header = connect_header(section);
    if let Some(fault) = url.as_ref().and_then(|url| fault(url.expose())) {
        let place = section.place_of("proxy_url");
        section.problem(place, format!("`proxy_url`: {fault}"));
    }
    let faults = [
        (
            "proxy_connect_header",
            !connect_header.is_empty() && url.is_none() && !from_environment,
            "if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be configured",
        ),
        (
            "proxy_from_environment",
            from_environment && url.is_some(),
            "if proxy_from_environment is configured, proxy_url must not be configured",
        ),
        (
            "no_proxy",
            from_environment && !no_proxy.is_empty(),
            "if proxy_from_environment is configured, no_proxy must not be configured",
        ),
        (
            "no_proxy",
            !from_environment && url.is_none() && !no_proxy.is_empty(),
            "if no_proxy is configured, proxy_url must also be configured",
        ),
    ];
    for (key, is_wrong, message) in faults {
        if is_wrong {
            let place = section.place_of(key);
            section.problem(place, message);
        }
    }
    let route = match url {
        Some(url) => ProxyRoute::Url { url, no_proxy: no_proxy.to_owned() },
        None if from_environment => ProxyRoute::Environment,
        None => return None,
    };
    Some(Proxy { route, connect_header })
}

/// `Some`: why `url` is none of a proxy. Tells nothing of its content.
fn fault(url: &str) -> Option<&'static str> {
    let is_socks = ["socks5://", "socks5h://", "socks4://", "socks://"].iter().any(|scheme| {
        url.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    if is_socks {
        return Some("SOCKS proxies are not supported; expected `http://` or `https://`");
    }
    discovery::url_fault(url)
}

fn connect_header(section: &mut Section<'_, '_>) -> Vec<(String, Vec<Secret>)> {
    let entries = section.mapping("proxy_connect_header");
    if entries.len() > CONNECT_HEADERS_MAX {
        let place = section.place_of("proxy_connect_header");
        let message = format!("`proxy_connect_header`: more than {CONNECT_HEADERS_MAX} headers");
        section.problem(place, message);
        return Vec::new();
    }
    let mut headers = Vec::new();
    for (key, node) in entries {
        if !is_header_name(&key.text) {
            let message =
                format!("`proxy_connect_header`: `{}` is no header name", shown(&key.text));
            section.problem(key.place, message);
        }
        let Some(nodes) = node.as_seq() else {
            if !node.is_null() {
                let message = format!(
                    "`proxy_connect_header`: expected a list of values, found {}",
                    node.kind()
                );
                section.problem(node.place, message);
            }
            continue;
        };
        let texts = section.all_texts("proxy_connect_header", nodes);
        headers
            .push((key.text.clone(), texts.iter().map(|(text, _)| Secret::new(*text)).collect()));
    }
    headers
}
