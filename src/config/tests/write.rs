//! How a destination is spoken to: version, packing, metadata.

use std::time::Duration;

use super::*;

#[test]
fn how_a_destination_is_spoken_to() {
    let read_destination = |fields: &str| {
        let config = read(&format!("remote_write: [{{url: 'http://a/'{fields}}}]\n"));
        let config = config.expect("good");
        (config.destinations[0].clone(), config.warnings)
    };
    let (plain, _) = read_destination("");
    assert_eq!((plain.message, plain.compression), (WriteMessage::V1, WriteCompression::Auto));
    let expected = MetadataSending {
        enabled: true,
        interval: Duration::from_mins(1),
        families_per_send_max: 2000,
    };
    assert_eq!(plain.metadata, expected);
    let (told, warnings) = read_destination(
        ", protobuf_message: io.prometheus.write.v2.Request, x_compression: snappy, \
         send_native_histograms: true, round_robin_dns: true, \
         metadata_config: {send: false, send_interval: 5s, max_samples_per_send: 7}",
    );
    assert_eq!((told.message, told.compression), (WriteMessage::V2, WriteCompression::Snappy));
    assert!(told.send_native_histograms && told.round_robin_dns);
    let (enabled, interval) = (false, Duration::from_secs(5));
    assert_eq!(told.metadata, MetadataSending { enabled, interval, families_per_send_max: 7 });
    assert_eq!(warnings, Vec::<String>::new());
    let (_, warnings) =
        read_destination(", protobuf_message: io.prometheus.write.v2.Request, x_compression: zstd");
    assert!(warnings[0].contains("`x_compression: zstd` has no effect"), "{warnings:?}");
    check(
        "remote_write: [{url: 'http://a/', x_compression: lz4, metadata_config: {send_interval: 0s, max_samples_per_send: 0}}]\n",
        &[
            "1:50: `x_compression`: expected `auto`, `snappy`, `zstd`, found `lz4`",
            "1:73: remote write metadata send_interval must be positive",
            "1:92: remote write queue max_samples_per_send must be positive",
        ],
    );
}
