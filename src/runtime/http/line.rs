//! The connections that requests other than scrapes go over, with TLS and through which proxy; nothing
//! of who asks. A client is built anew when a file of its TLS settings has changed.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::HeaderMap;
use reqwest::{Client, redirect::Policy};
use url::Url;

use crate::{
    config::{Proxy, Tls},
    runtime::http::{
        TlsSource, USER_AGENT,
        proxy::Route,
        rotation::{Rotating, Rotation},
    },
};

/// A connection that is not up by then is given up, whatever the request's own timeout.
const CONNECT_SECONDS_MAX: u64 = 10;

pub(super) struct Line {
    tls: TlsSource,
    route: Arc<Route>,
    enable_http2: bool,
    rotation: Option<Rotating>,
    /// The client, and the version of the TLS files that it was built from.
    built: Mutex<Option<(u64, Client)>>,
}

impl Line {
    pub(super) fn new(tls: &Tls, proxy: Option<&Proxy>, enable_http2: bool) -> Self {
        Self {
            tls: TlsSource::new(tls, enable_http2),
            route: Arc::new(Route::new(proxy)),
            enable_http2,
            rotation: None,
            built: Mutex::new(None),
        }
    }

    /// Each new connection goes to the next address of the host name.
    pub(super) fn rotating(self) -> Self {
        let rotation = Rotation::new(rand::random::<u16>().into());
        Self { rotation: Some(Rotating(Arc::new(rotation))), ..self }
    }

    /// For a request to `url`, which follows no redirect by itself.
    ///
    /// # Errors
    /// A sentence that names the file or setting; never its content.
    pub(super) fn client(&self, url: &Url) -> Result<Client, String> {
        self.route.to(url)?;
        let (version, tls) = self.tls.current()?;
        let mut built = self.built.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((built_from, client)) = &*built
            && *built_from == version
        {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .user_agent(USER_AGENT)
            .no_proxy()
            .redirect(Policy::none())
            .connect_timeout(Duration::from_secs(CONNECT_SECONDS_MAX))
            .tls_backend_preconfigured((*tls).clone());
        if !self.enable_http2 {
            builder = builder.http1_only();
        }
        if !self.route.is_straight() {
            // Two, as reqwest shows the headers of a tunnel also to servers behind a plain proxy.
            builder = builder.proxy(self.proxy("http")).proxy(self.proxy("https"));
        }
        if let Some(rotation) = &self.rotation {
            builder = builder.dns_resolver(Arc::new(rotation.clone()));
        }
        let client = builder.build().map_err(|e| format!("no HTTP client: {e}"))?;
        *built = Some((version, client.clone()));
        Ok(client)
    }

    /// For what has this scheme.
    fn proxy(&self, scheme: &'static str) -> reqwest::Proxy {
        let route = Arc::clone(&self.route);
        let find = move |url: &Url| {
            // Where the rules name no proxy that can be, `client` has told so before.
            let via = route.to(url).ok().flatten();
            via.filter(|_| url.scheme() == scheme).map(|via| via.url.clone())
        };
        let headers =
            if scheme == "https" { self.route.connect_header() } else { HeaderMap::new() };
        let proxy = reqwest::Proxy::custom(find);
        if headers.is_empty() { proxy } else { proxy.headers(headers) }
    }
}
