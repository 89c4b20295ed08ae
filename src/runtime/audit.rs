//! The audit: one line in the log for each order that this agent is given, whichever way it came, with
//! who gave it and what came of it. These lines are never left out, and have a module of their own.

use tracing::{info, warn};

use crate::runtime::log::AUDIT;

/// Orders that have a name; another path that is asked to change something is `other`.
const NAMES: &[&str] = &["reload", "quit", "drain", "undrain", "plan"];

/// An order that came in over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub method: &'a str,
    pub path: &'a str,
    /// Never a credential.
    pub who: &'a str,
    pub role: &'a str,
    pub from: &'a str,
    pub status: u16,
}

/// By HTTP.
pub fn asked(asked: Asked<'_>) {
    let Asked { method, path, who, role, from, status } = asked;
    let last = path.rsplit('/').next().unwrap_or_default();
    let order = NAMES.iter().find(|name| **name == last).unwrap_or(&"other");
    if status < 400 {
        let outcome = "taken";
        info!(target: AUDIT, order, outcome, who, role, from, method, path, status, "an order was given");
    } else {
        let outcome = "refused";
        warn!(target: AUDIT, order, outcome, who, role, from, method, path, status, "an order was given");
    }
}

/// By a signal or a changed file: whoever can do that on this host is its administrator.
pub fn on_this_host(order: &str, who: &str, is_taken: bool) {
    let (role, from) = ("admin", "this host");
    if is_taken {
        info!(target: AUDIT, order, outcome = "taken", who, role, from, "an order was given");
    } else {
        warn!(target: AUDIT, order, outcome = "refused", who, role, from, "an order was given");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::runtime::log::{Format, lines};

    fn told(order: impl FnOnce()) -> Value {
        let lines = lines(Format::Json, order);
        assert_eq!(lines.len(), 1, "{lines:?}");
        let mut line: Value = serde_json::from_str(&lines[0]).unwrap();
        line.as_object_mut().unwrap().remove("time").unwrap();
        line
    }

    #[test]
    fn an_order_is_one_line_whichever_way_it_came() {
        let check = |path: &str, status: u16, (order, outcome, level): (&str, &str, &str)| {
            let order_given =
                Asked { method: "POST", path, who: "user a", role: "admin", from: "::1", status };
            let expected = json!({
                "level": level, "module": "starling::audit", "message": "an order was given",
                "order": order, "outcome": outcome, "who": "user a", "role": "admin",
                "from": "::1", "method": "POST", "path": path, "status": status
            });
            assert_eq!(told(|| asked(order_given)), expected);
        };
        check("/-/reload", 200, ("reload", "taken", "info"));
        check("/-/reload", 500, ("reload", "refused", "warn"));
        check("/api/v1/drain", 202, ("drain", "taken", "info"));
        check("/api/v1/undrain", 401, ("undrain", "refused", "warn"));
        check("/-/quit", 403, ("quit", "refused", "warn"));
        check("/nowhere", 404, ("other", "refused", "warn"));

        let expected = json!({
            "level": "warn", "module": "starling::audit", "message": "an order was given",
            "order": "reload", "outcome": "refused", "who": "SIGHUP", "role": "admin",
            "from": "this host"
        });
        assert_eq!(told(|| on_this_host("reload", "SIGHUP", false)), expected);
    }
}
