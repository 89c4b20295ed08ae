//! What a target is divided by: its identity, or what its job says should count instead. Pure.

use std::{borrow::Cow, sync::Arc};

use url::form_urlencoded;

use crate::{
    config::Clustering,
    model::{slot::StreamKey, target::Target},
};

/// `target` with the key that its job wants: slot, phase and streams all follow from it.
pub fn keyed(target: &Arc<Target>, clustering: &Clustering) -> Arc<Target> {
    let key = stream_key(target, clustering);
    if key == target.key {
        return Arc::clone(target);
    }
    Arc::new(Target { key, ..Target::clone(target) })
}

/// Without includes and excludes it is the target's own key, whatever its other labels are.
pub fn stream_key(target: &Target, clustering: &Clustering) -> StreamKey {
    if clustering.key_include.is_empty() && clustering.key_exclude.is_empty() {
        return target.key;
    }
    let excluded = |name: &str| clustering.key_exclude.iter().any(|other| other == name);
    let unless_excluded = |name| if excluded(name) { "" } else { target.labels.get(name) };
    let query = target.url.split_once('?').map_or("", |(_, query)| query);
    let query: Vec<&str> = query
        .split('&')
        .filter(|pair| !excluded(&format!("__param_{}", parameter(pair))))
        .collect();
    let query = query.join("&");

    let mut parts = vec![
        &*target.job,
        unless_excluded("__scheme__"),
        unless_excluded("__address__"),
        unless_excluded("__metrics_path__"),
        &query,
    ];
    // The name goes in as well: two labels that swap their values make another key.
    for name in &clustering.key_include {
        parts.extend([name.as_str(), target.labels.get(name)]);
    }
    StreamKey::of(parts)
}

fn parameter(pair: &str) -> Cow<'_, str> {
    form_urlencoded::parse(pair.as_bytes()).next().map_or(Cow::Borrowed(""), |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{labels::Labels, target::TargetId};

    fn target(address: &str, query: &str, labels: &[(&str, &str)]) -> Target {
        let identity =
            [("__scheme__", "http"), ("__address__", address), ("__metrics_path__", "/m")];
        let question = if query.is_empty() { "" } else { "?" };
        Target {
            job: "j".into(),
            labels: identity.iter().chain(labels).copied().collect(),
            discovered: Labels::new(),
            id: TargetId(0),
            key: StreamKey::of(["j", "http", address, "/m", query]),
            url: format!("http://{address}/m{question}{query}"),
            interval: Duration::from_secs(15),
            timeout: Duration::from_secs(10),
        }
    }

    #[test]
    fn what_counts_and_what_does_not() {
        let check = |include: &[&str], exclude: &[&str], one: &Target, other: &Target, same| {
            let clustering = Clustering {
                enabled: true,
                key_include: include.iter().map(|&name| name.to_owned()).collect(),
                key_exclude: exclude.iter().map(|&name| name.to_owned()).collect(),
            };
            let keys = [stream_key(one, &clustering), stream_key(other, &clustering)];
            assert_eq!(keys[0] == keys[1], same, "{include:?} {exclude:?}");
        };
        let plain = target("a:1", "", &[("team", "x")]);
        let renamed = target("a:1", "", &[("team", "y")]);
        let elsewhere = target("b:1", "", &[("team", "x")]);
        let signed = target("a:1", "module=m&sig%5B=1", &[]);
        let signed_anew = target("a:1", "module=m&sig%5B=2", &[]);
        check(&[], &[], &plain, &renamed, true);
        check(&[], &[], &plain, &elsewhere, false);
        check(&["team"], &[], &plain, &renamed, false);
        check(&["team"], &["__address__"], &plain, &elsewhere, true);
        check(&[], &[], &signed, &signed_anew, false);
        check(&[], &["__param_sig["], &signed, &signed_anew, true);
        check(&[], &["__param_module"], &signed, &signed_anew, false);
        // Said but idle: as if nothing had been said.
        let idle =
            Clustering { enabled: true, key_exclude: vec!["x".into()], ..Clustering::default() };
        for target in [plain, signed] {
            assert_eq!(stream_key(&target, &idle), target.key);
        }
    }
}
