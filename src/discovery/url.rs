//! A target's URL, spelled as Go's `net/url` spells it: what Prometheus shows and asks for.

use std::collections::BTreeMap;

/// `address` is host and port; a path without a leading slash gets one.
pub(super) fn of(scheme: &str, address: &str, path: &str, query: &str) -> String {
    let mut url = format!("{scheme}://");
    escape(address, &mut url, |byte| b"!$&'()*+,;=:[]<>\"".contains(&byte));
    if !path.is_empty() && !path.starts_with('/') {
        url.push('/');
    }
    escape(path, &mut url, |byte| b"$&+,/:;=@".contains(&byte));
    if !query.is_empty() {
        url.push('?');
        url.push_str(query);
    }
    url
}

/// Form-encoded, sorted by name; the values of a name stay in their order.
pub(super) fn query(params: &BTreeMap<&str, Vec<&str>>) -> String {
    let mut query = String::new();
    for (name, values) in params {
        for value in values {
            if !query.is_empty() {
                query.push('&');
            }
            form_encode(name, &mut query);
            query.push('=');
            form_encode(value, &mut query);
        }
    }
    query
}

fn form_encode(text: &str, into: &mut String) {
    let mut words = text.split(' ');
    escape(words.next().unwrap_or_default(), into, |_| false);
    for word in words {
        into.push('+');
        escape(word, into, |_| false);
    }
}

/// Letters, digits and `-_.~` stay, as does what `plain` allows.
fn escape(text: &str, into: &mut String, plain: impl Fn(u8) -> bool) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || plain(byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(HEX[usize::from(byte >> 4)]));
            into.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_spelled_as_go_spells_it() {
        let check = |address, path, expected: &str| {
            assert_eq!(of("http", address, path, ""), expected);
        };
        check("a:9100", "/metrics", "http://a:9100/metrics");
        check("[::1]:9100", "/metrics", "http://[::1]:9100/metrics");
        check("a", "metrics", "http://a/metrics");
        check("a", "", "http://a");
        check("a", "/p q?x=1#y%41", "http://a/p%20q%3Fx=1%23y%2541");
        check("a", "/é(1)*", "http://a/%C3%A9%281%29%2A");
        check("a?b@c d", "/", "http://a%3Fb%40c%20d/");
        assert_eq!(of("https", "a", "/m", "x=1"), "https://a/m?x=1");
    }

    #[test]
    fn a_query_is_sorted_and_form_encoded() {
        let params = BTreeMap::from([
            ("match[]", vec!["up", "{job=\"a b\"}"]),
            ("a+b", vec!["", "~é*"]),
            ("none", vec![]),
        ]);
        assert_eq!(
            query(&params),
            "a%2Bb=&a%2Bb=~%C3%A9%2A&match%5B%5D=up&match%5B%5D=%7Bjob%3D%22a+b%22%7D"
        );
    }
}
