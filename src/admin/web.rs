//! The page: three files within the binary, no build step.

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

const FILES: [File; 3] = [
    File {
        path: "/",
        content_type: "text/html; charset=utf-8",
        bytes: include_bytes!("../../web/index.html"),
    },
    File {
        path: "/style.css",
        content_type: "text/css; charset=utf-8",
        bytes: include_bytes!("../../web/style.css"),
    },
    File {
        path: "/app.js",
        content_type: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../web/app.js"),
    },
];

/// Nothing from elsewhere, and nothing that a label could smuggle in.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn paths() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|file| file.path)
}

pub(super) async fn file(request: HttpRequest, known: Option<Header<IfNoneMatch>>) -> HttpResponse {
    let File { content_type, bytes, .. } = FILES
        .into_iter()
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
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY));
    if is_known { answer.finish() } else { answer.content_type(content_type).body(bytes) }
}
