//! `ec2_sd_configs`: the instances that EC2 tells of, page after page. The requests are signed by the
//! client, as those of a destination are.

mod answer;

use std::{collections::BTreeMap, time::Duration};

use ::http::{
    Request,
    header::{ACCEPT, CONTENT_TYPE},
};
use reqwest::Method;
use tracing::debug;
use url::{Url, form_urlencoded};

use crate::{
    config::{Ec2 as Settings, HttpClient},
    discovery::{
        api::{Api, Answer, Pages},
        meta::group,
    },
    model::{labels::Labels, target::TargetGroup},
};

/// Of the API whose answers are understood here.
const API_VERSION: &str = "2016-11-15";
/// As many instances as EC2 puts on a page.
const PAGE_INSTANCES_MAX: &str = "1000";

pub(super) struct Ec2 {
    api: Api,
    settings: Settings,
    /// `None`: not known yet. Asking for it takes a permission that not everybody gives.
    zone_ids: Option<BTreeMap<String, String>>,
}

type Parameters = Vec<(String, String)>;
