//! Any answer of a destination, to a request of any form: none brings the agent down, and none makes
//! more of a request stored or lost than there was.

#![no_main]

use starling::{
    config::WriteMessage,
    outbox::{
        dialect::{Form, Packing, Sent},
        verdict::{Answer, Reply, Verdict, Written, judge},
    },
    wire::remote_write::Counts,
};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((head, texts)) = bytes.split_first_chunk::<8>() else { return };
    let mut texts = texts.split(|byte| *byte == b'\n').map(|text| str::from_utf8(text).ok());
    let mut header = || texts.next().flatten();
    let form = Form {
        message: if head[0] & 1 == 0 { WriteMessage::V1 } else { WriteMessage::V2 },
        packing: if head[0] & 2 == 0 { Packing::Snappy } else { Packing::Zstd },
        rewrites: head[0] & 4 == 0,
    };
    let counts = Counts {
        samples: head[1].into(),
        histograms: head[2].into(),
        exemplars: 0,
        unsendable: head[3].into(),
    };
    let answer = Answer::Status(Reply {
        code: u16::from_le_bytes([head[4], head[5]]),
        retry_after: header().map(str::to_owned),
        written: Written::read([header(), header(), header()]),
        is_victoria_metrics: head[6] & 1 == 0,
        text: String::new(),
    });
    let now_ms = i64::from(head[7]) << 40;
    match judge(&answer, &Sent { form, counts }, now_ms) {
        Verdict::StoredPartly { refused, unsendable } => {
            assert!(refused <= counts.samples + counts.histograms);
            assert_eq!(unsendable, counts.unsendable);
        }
        Verdict::Retry { wait_ms, .. } => assert!(wait_ms.is_none_or(|wait_ms| wait_ms > 0)),
        Verdict::Stored
        | Verdict::OtherForm { .. }
        | Verdict::TooLarge
        | Verdict::Rejected
        | Verdict::Hold
        | Verdict::Refused => {}
    }
    _ = answer.to_string();
});
