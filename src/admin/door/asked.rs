//! What a request looks like before anyone reads it, and whether it may go on: sizes, the name that it
//! was sent to, and whether a page of another site could have sent it. Pure.

use std::net::IpAddr;

/// Of a request's line and headers; the server itself cuts off at 128 KiB and 96 headers.
pub(super) const HEAD_BYTES_MAX: usize = 32 << 10;
/// Of an order.
pub(super) const BODY_BYTES_MAX: usize = 64 << 10;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Asked<'a> {
    /// Whether it may change something: all but GET, HEAD and OPTIONS.
    pub(super) is_order: bool,
    /// Of the request's line, else the header.
    pub(super) host: Option<&'a str>,
    pub(super) origin: Option<&'a str>,
    /// `Sec-Fetch-Site`, which no page can set itself.
    pub(super) fetch_site: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
    pub(super) has_body: bool,
    /// As it says itself.
    pub(super) body_bytes: usize,
    pub(super) head_bytes: usize,
}

/// By which names this API is reached.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// Of the host.
    pub(super) own: Vec<String>,
    /// `admin.hosts`.
    pub(super) configured: Vec<String>,
    /// Whether only this host reaches it. Then a page of any site that a browser here looks at could
    /// reach it, too, by a name that its owner makes to lead here.
    pub(super) is_local: bool,
}

/// Status and sentence of a refusal.
pub(super) type Refusal = (u16, String);

/// Whatever the credentials, as it is for all methods.
pub(super) fn check_request(asked: &Asked<'_>, names: &Names) -> Result<(), Refusal> {
    if asked.head_bytes > HEAD_BYTES_MAX {
        let bytes = asked.head_bytes;
        let detail =
            format!("the headers are {bytes} bytes long; expected at most {HEAD_BYTES_MAX}");
        return Err((431, detail));
    }
    let host = asked.host.unwrap_or("");
    if names.is_local && !host.is_empty() && !names.leads_here(host) {
        let host: String = host.chars().filter(|c| !c.is_control()).take(100).collect();
        let detail = format!(
            "`Host` is `{host}`, which is no name of this host; where it is reached by it, set `hosts` of `admin`"
        );
        return Err((421, detail));
    }
    Ok(())
}

/// For orders, that no page of another site may give and no form can send.
pub(super) fn check_order(asked: &Asked<'_>, names: &Names) -> Result<(), Refusal> {
    if !asked.is_order {
        return Ok(());
    }
    let foreign = || Err((403, "orders are not taken from pages of other sites".to_owned()));
    if matches!(asked.fetch_site, Some("cross-site" | "same-site")) {
        return foreign();
    }
    if let Some(origin) = asked.origin {
        let authority = origin.split_once("://").map(|(_, authority)| authority);
        let is_own = authority.is_some_and(|authority| {
            Some(authority) == asked.host || names.configured.contains(&name_of(authority))
        });
        if !is_own {
            return foreign();
        }
    }
    if asked.has_body && !asked.content_type.is_some_and(is_json) {
        let detail = "an order has no body, or one with `Content-Type: application/json`";
        return Err((415, detail.to_owned()));
    }
    if asked.body_bytes > BODY_BYTES_MAX {
        return Err(too_large());
    }
    Ok(())
}

pub(super) fn too_large() -> Refusal {
    (413, format!("the body is too large; expected at most {BODY_BYTES_MAX} bytes"))
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or("");
    kind.trim().eq_ignore_ascii_case("application/json")
}

impl Names {
    fn leads_here(&self, host: &str) -> bool {
        let name = name_of(host);
        let is_address = name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        is_address
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.own.contains(&name)
            || self.configured.contains(&name)
    }
}

/// Without the port, in lower case.
fn name_of(authority: &str) -> String {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.ends_with(':') => {
            name
        }
        Some(_) | None => authority,
    };
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(is_local: bool) -> Names {
        Names { own: vec!["vm7".into()], configured: vec!["flock.example".into()], is_local }
    }

    #[test]
    fn only_names_of_this_host_lead_to_a_local_api() {
        let check = |host: &str, expected: bool| {
            let asked = Asked { host: Some(host), ..Asked::default() };
            let outcome = check_request(&asked, &names(true));
            assert_eq!(outcome.is_ok(), expected, "{host}: {outcome:?}");
            assert!(check_request(&asked, &names(false)).is_ok(), "{host}");
        };
        for own in [
            "127.0.0.1:9733",
            "127.0.0.1",
            "[::1]:9733",
            "[::1]",
            "10.0.0.7:1",
            "localhost",
            "LOCALHOST:9733",
            "a.localhost:1",
            "vm7:9733",
            "VM7.",
            "flock.example",
            "flock.example:443",
        ] {
            check(own, true);
        }
        for other in
            ["evil.example", "evil.example:9733", "vm7.evil.example", "localhost.evil", "x"]
        {
            check(other, false);
        }
        let refusal =
            check_request(&Asked { host: Some("evil.example"), ..Asked::default() }, &names(true));
        let (status, detail) = refusal.unwrap_err();
        assert_eq!(status, 421);
        assert!(detail.contains("`evil.example`") && detail.contains("`hosts` of `admin`"));
        assert!(check_request(&Asked::default(), &names(true)).is_ok(), "HTTP/1.0 names none");
    }

    #[test]
    fn an_order_is_not_taken_from_another_site_nor_from_a_form() {
        let own = Asked { is_order: true, host: Some("vm7:9733"), ..Asked::default() };
        let check = |asked: Asked<'_>, expected: u16| {
            let status = check_order(&asked, &names(true)).err().map_or(200, |(status, _)| status);
            assert_eq!(status, expected, "{asked:?}");
            let look = Asked { is_order: false, ..asked };
            assert!(check_order(&look, &names(true)).is_ok(), "looking is no order");
        };
        check(own, 200);
        check(Asked { origin: Some("http://vm7:9733"), ..own }, 200);
        check(Asked { origin: Some("https://flock.example"), ..own }, 200);
        for origin in ["http://vm7", "http://evil.example", "null", "", "http://vm7:9733.evil"] {
            check(Asked { origin: Some(origin), ..own }, 403);
        }
        check(Asked { fetch_site: Some("same-origin"), ..own }, 200);
        check(Asked { fetch_site: Some("none"), ..own }, 200);
        check(Asked { fetch_site: Some("cross-site"), ..own }, 403);
        check(Asked { fetch_site: Some("same-site"), ..own }, 403);

        let body = Asked { has_body: true, body_bytes: 2, ..own };
        check(Asked { content_type: Some("application/json; charset=utf-8"), ..body }, 200);
        // `curl -d ''` says this of no body at all.
        let form = Some("application/x-www-form-urlencoded");
        check(Asked { content_type: form, ..own }, 200);
        for content_type in [form, None, Some("text/plain"), Some("multipart/form-data; x=y")] {
            check(Asked { content_type, ..body }, 415);
        }
        let json = Asked { content_type: Some("application/json"), ..body };
        check(Asked { body_bytes: BODY_BYTES_MAX, ..json }, 200);
        check(Asked { body_bytes: BODY_BYTES_MAX + 1, ..json }, 413);
    }
}
