//! `hetzner_sd_configs`: the servers of a project in Hetzner's cloud, or the dedicated ones of an
//! account ("robot").

use crate::config::{
    HttpClient,
    decode::{Section, shown},
    discovery::{Provider, port},
    http,
    show::{Field, some_text},
    yaml_out::{number, text},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hetzner {
    pub role: HetznerRole,
    /// The URL of the role's API. No key sets it.
    pub endpoint: String,
    pub port: u16,
    /// Which servers the cloud is asked for; empty for all.
    pub label_selector: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HetznerRole {
    Cloud,
    Robot,
}

impl HetznerRole {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cloud => "hcloud",
            Self::Robot => "robot",
        }
    }

    fn endpoint(self) -> &'static str {
        match self {
            Self::Cloud => "https://api.hetzner.cloud/v1",
            Self::Robot => "https://robot-ws.your-server.de",
        }
    }
}

pub(super) fn read(section: &mut Section<'_, '_>) -> Option<(Provider, HttpClient)> {
    let role = role(section);
    let (port, selector) = (port(section), section.text("label_selector").unwrap_or(""));
    let client = http::client(section, true);
    let role = role?;
    let hetzner = Hetzner {
        role,
        endpoint: role.endpoint().to_owned(),
        port,
        label_selector: selector.to_owned(),
    };
    Some((Provider::Hetzner(hetzner), client))
}

fn role(section: &mut Section<'_, '_>) -> Option<HetznerRole> {
    let typed = section.text("role");
    let place = section.place_of("role");
    let Some(typed) = typed else {
        section.problem(place, "role missing (one of: robot, hcloud) (`role`)");
        return None;
    };
    let role = [HetznerRole::Cloud, HetznerRole::Robot].into_iter().find(|r| r.name() == typed);
    if role.is_none() {
        let message = format!("unknown role {:?}; expected `robot` or `hcloud`", shown(typed));
        section.problem(place, message);
    }
    role
}

impl Hetzner {
    pub(super) fn fields(&self) -> Vec<Field> {
        vec![
            ("role", Some(text(self.role.name()))),
            ("port", Some(number(self.port))),
            ("label_selector", some_text(&self.label_selector)),
        ]
    }
}
