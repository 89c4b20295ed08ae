//! The labels that leave, as Prometheus' `processExternalLabels` makes them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;
use starling::{
    config::{
        Destination, HttpClient, MetadataSending, Queue, TypedUrl, WriteCompression, WriteMessage,
    },
    model::{
        labels::{Labels, METRIC_NAME},
        sample::{Point, PointValue},
        slot::StreamKey,
    },
    outbox::{Packer, Shapings},
    wire::remote_write::{Fragment, decode, join},
};

use crate::{cases, conformance, report};

#[test]
fn external_labels() {
    let Some(folder) = conformance("remote") else { return };
    let faults: Vec<String> =
        cases(&folder, "external_labels.json").iter().filter_map(fault_of).collect();
    report(&faults);
}

fn fault_of(case: &Value) -> Option<String> {
    let set = |name: &str| -> Labels {
        let set: BTreeMap<String, String> = serde_json::from_value(case[name].clone()).unwrap();
        set.into_iter().collect()
    };
    // The cases have no name, and a series without one is not sent.
    let named = |mut labels: Labels| {
        labels.set(METRIC_NAME, "m");
        labels
    };
    let left = sent(&named(set("series")), set("external_labels"));
    let expected = named(set("expected"));
    (left != expected).then(|| format!("{}: sent {left}, expected {expected}", case["id"]))
}

fn sent(series: &Labels, external_labels: Labels) -> Labels {
    let destination = Destination {
        name: "any".into(),
        fleet_name: "any".into(),
        url: TypedUrl::new(""),
        timeout: Duration::ZERO,
        http: HttpClient::default(),
        external_labels,
        write_relabel: Vec::new(),
        send_exemplars: false,
        send_native_histograms: false,
        message: WriteMessage::V1,
        compression: WriteCompression::Auto,
        metadata: MetadataSending::default(),
        round_robin_dns: false,
        placement: false,
        out_of_order_window: Duration::ZERO,
        queue: Queue {
            samples_per_send_max: 1,
            batch_send_deadline: Duration::ZERO,
            min_backoff: Duration::ZERO,
            max_backoff: Duration::ZERO,
            sample_age_limit: Duration::ZERO,
        },
    };
    let shapings = Arc::new(Shapings::of(&[Arc::new(destination)]));
    let mut packer = Packer::new(Arc::clone(&shapings));
    packer.begin(StreamKey(0), 0, None);
    let value = PointValue::Float(0.0);
    let point = Point { value, timestamp_ms: 0, start_ms: None, exemplars: &[] };
    packer.push(&shapings.encode(series, None), &point, 0);
    let batch = packer.finish().batches_for("any").remove(0);
    let fragment = Fragment { bytes: batch.bytes, raw_length: batch.raw_length };
    decode(&join([&fragment])).unwrap().remove(0).labels
}
