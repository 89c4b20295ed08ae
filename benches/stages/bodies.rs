//! Bodies as exporters write them: short and long names, some labels, integers and fractions.

use std::fmt::Write;

/// So many bodies of the same series follow each other; a quarter of the values moves.
pub const VARIANTS: usize = 4;

#[derive(Clone, Copy, Default)]
pub struct Kind {
    pub openmetrics: bool,
    pub uncommented: bool,
    /// One series in so many has a new label in each variant; 0: none.
    pub churn: usize,
}

pub fn bodies(samples: usize, kind: Kind, variants: usize) -> Vec<String> {
    (0..variants).map(|variant| body(samples, kind, variant)).collect()
}

fn body(samples: usize, kind: Kind, variant: usize) -> String {
    let mut body = String::new();
    for n in 0..samples {
        // As many series a family as node_exporter has, more or less.
        let family = n / 5;
        if n % 5 == 0 && !kind.uncommented {
            let suffix = if kind.openmetrics { "" } else { "_total" };
            _ = writeln!(
                body,
                "# HELP node_network_receive_{family}_packets{suffix} Statistic receive_{family}."
            );
            _ = writeln!(body, "# TYPE node_network_receive_{family}_packets{suffix} counter");
        }
        let moved = if n % 4 == 0 { variant * 17 } else { 0 };
        let churned = if kind.churn > 0 && n % kind.churn == 0 { variant } else { 0 };
        _ = write!(
            body,
            "node_network_receive_{family}_packets_total{{device=\"veth{n:06x}\",queue=\"{churned}\"}} "
        );
        _ = match n % 3 {
            0 => writeln!(body, "{}", n * 104_729 + moved),
            1 => writeln!(body, "{}.{:02}", n * 7_919 + moved, (n + moved) % 100),
            _ => writeln!(body, "{:e}", (n * 1_000_003 + moved) as f64 * 1.5),
        };
    }
    if kind.openmetrics {
        body.push_str("# EOF\n");
    }
    body
}
