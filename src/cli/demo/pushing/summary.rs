//! The picture of a moment: what was pushed, acknowledged and stored, and by which gateway. Pure.

use std::{fmt, time::Duration};

use serde_json::{Value, json};

use crate::cli::demo::{
    agent::{self, Departure},
    pushing::ledger::{Gateway, Ledger, Outstanding, Totals},
    rates::Rates,
    show::{Seconds, Told},
};

pub(super) struct Summary {
    elapsed: Duration,
    gateways: Vec<GatewayLine>,
    totals: Totals,
    outstanding: Outstanding,
    /// The longest since the summary before.
    wait_ms: i64,
}

struct GatewayLine {
    name: String,
    departure: Option<Departure>,
    gateway: Gateway,
    samples_per_second: f64,
}

impl Summary {
    pub(super) fn of(ledger: &mut Ledger, elapsed: Duration, rates: &Rates, now_ms: i64) -> Self {
        let gateways = ledger.gateways().iter().zip(ledger.kills().departures()).enumerate();
        let line = |(index, (&gateway, &departure))| GatewayLine {
            name: agent::name_of(index),
            departure,
            gateway,
            samples_per_second: rates.per_second(index),
        };
        Self {
            elapsed,
            gateways: gateways.map(line).collect(),
            totals: ledger.totals(),
            outstanding: ledger.outstanding(now_ms),
            wait_ms: ledger.take_wait_ms(),
        }
    }

    fn faults(&self) -> u64 {
        self.totals.faults() + self.outstanding.missing
    }
}

impl Told for Summary {
    fn json(&self) -> Value {
        let gateways: Vec<Value> = self.gateways.iter().map(GatewayLine::json).collect();
        let Outstanding { under_way, held, missing } = self.outstanding;
        let Totals { pushed, acknowledged, stored, late, repeated, .. } = self.totals;
        json!({
            "seconds": self.elapsed.as_secs(), "gateways": gateways,
            "pushed": pushed, "acknowledged": acknowledged, "stored": stored,
            "under_way": under_way, "held": held, "missing": missing,
            "late": late, "repeated": repeated, "wait_ms": self.wait_ms,
            "faults": self.faults(),
        })
    }
}

impl GatewayLine {
    fn json(&self) -> Value {
        let Gateway { acknowledged, passed_on, sent } = self.gateway;
        json!({
            "name": self.name, "state": agent::state_of(self.departure),
            "pushes_acknowledged": acknowledged, "pushes_passed_on": passed_on, "sent": sent,
            "samples_per_second": self.samples_per_second.round(),
        })
    }
}

/// Several lines, none of them wider than a terminal is at least.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Totals { pushed, acknowledged, stored, late, repeated, .. } = self.totals;
        let Outstanding { under_way, held, missing } = self.outstanding;
        write!(f, "{:>4} s  ", self.elapsed.as_secs())?;
        writeln!(f, "{pushed} samples pushed, {acknowledged} acknowledged, {stored} stored")?;
        write!(f, "        {missing} missing, {under_way} under way")?;
        if held > 0 {
            write!(f, ", {held} may lie on a killed one's disk")?;
        }
        match self.faults() {
            0 => writeln!(f, ", no fault")?,
            1 => writeln!(f, ", 1 fault")?,
            faults => writeln!(f, ", {faults} faults")?,
        }
        let wait = Seconds(self.wait_ms);
        writeln!(f, "        {late} late, {repeated} twice, pushes waited {wait} s at most")?;
        for GatewayLine { name, departure, gateway, samples_per_second } in &self.gateways {
            let Gateway { acknowledged, passed_on, sent: _ } = gateway;
            write!(f, "        {name}  {:<6}", agent::state_of(*departure))?;
            write!(f, "  {acknowledged:>5} pushes taken, {passed_on:>3} passed on")?;
            writeln!(f, "  {samples_per_second:>4.0} samples/s")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_line_is_wider_than_a_terminal() {
        let mut ledger = Ledger::new(1, 2);
        ledger.pushing(0, 1, 1);
        ledger.acknowledged(0, 1, 2);
        ledger.gone(1, Departure::Killed, 3);
        let rates = Rates::of(&[0, 123_456], Duration::from_secs(10), None);
        let summary = Summary::of(&mut ledger, Duration::from_secs(12_345), &rates, 4);
        let text = summary.to_string();
        assert!(text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.contains(", 40 may lie on a killed one's disk, no fault\n"), "{text}");
    }
}
