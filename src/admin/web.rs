//! The page: the files of `web/` within the binary, as they are; no build step.

use actix_web::{
    HttpRequest, HttpResponse,
    http::header::{self, EntityTag, IfNoneMatch},
    web::Header,
};
use xxhash_rust::xxh3::xxh3_64;

struct File {
    path: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
}

/// Each by its name below `web/`.
macro_rules! files {
    ($($name:literal)*) => {
        [$(File {
            path: concat!("/", $name),
            content_type: content_type($name),
            bytes: include_bytes!(concat!("../../web/", $name)),
        }),*]
    };
}

const START: File = File {
    path: "/",
    content_type: content_type("index.html"),
    bytes: include_bytes!("../../web/index.html"),
};

static FILES: [File; 19] = files! {
    "style.css" "icon.svg"
    "main.js" "api.js" "dom.js" "format.js" "live.js" "parts.js" "pictures.js"
    "views/config.js" "views/difference.js" "views/flock.js" "views/history.js" "views/instant.js"
    "views/labels.js" "views/queues.js" "views/target.js" "views/targets.js" "views/verify.js"
};

/// Nothing from elsewhere, and nothing that a label could smuggle in.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    all().map(|file| file.path)
}

pub(super) async fn file(request: HttpRequest, known: Option<Header<IfNoneMatch>>) -> HttpResponse {
    let File { content_type, bytes, .. } = all()
        .find(|file| file.path == request.path())
        .expect("only the paths of `FILES` are routed here");
    let tag = EntityTag::new_strong(format!("{:016x}", xxh3_64(bytes)));
    let is_known = known.is_some_and(|Header(known)| match known {
        IfNoneMatch::Any => true,
        // Weakly, as compression makes a strong tag a weak one on its way.
        IfNoneMatch::Items(tags) => tags.iter().any(|own| own.weak_eq(&tag)),
    });
    let mut answer = if is_known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header(header::ETag(tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    if is_known { answer.finish() } else { answer.content_type(*content_type).body(*bytes) }
}

fn all() -> impl Iterator<Item = &'static File> {
    std::iter::once(&START).chain(&FILES)
}

const fn content_type(name: &str) -> &'static str {
    match name.as_bytes() {
        [.., b'.', b'h', b't', b'm', b'l'] => "text/html; charset=utf-8",
        [.., b'.', b'c', b's', b's'] => "text/css; charset=utf-8",
        [.., b'.', b's', b'v', b'g'] => "image/svg+xml",
        [.., b'.', b'j', b's'] => "text/javascript; charset=utf-8",
        _ => panic!("a file of a kind that the page has none of"),
    }
}
