//! When the agent is ready: the API answers, discovery has had its first round, and the fleet was met
//! or given up on.

use std::sync::Arc;

use tokio::sync::watch;

use crate::{
    discovery,
    fleet::{self, membership::Order, standing::Standing},
    runtime::service::{self, Stage},
};

/// Resolves when it is, and says until then what is waited for.
pub(super) async fn is_ready(
    answers: impl Future<Output = ()>,
    discovery: discovery::Handle,
    fleet: Option<fleet::Handle>,
    mut status: watch::Receiver<Arc<fleet::Status>>,
    service: service::Handle,
) {
    let starting = |does, goes_on| service.stage(Stage::Starting { does, goes_on });
    answers.await;
    starting("looks for its targets", true);
    discovery.first_round().await;
    let Some(fleet) = fleet else { return };
    starting("meets its peers", true);
    fleet.order(Order::Ready).await;
    loop {
        let standing = status.borrow_and_update().standing;
        match standing {
            Standing::Seeking => {}
            Standing::Refused => starting("is kept out of the cluster", false),
            Standing::Waiting
            | Standing::Active { .. }
            | Standing::Holding
            | Standing::Leaving { .. }
            | Standing::Gone => return,
        }
        if status.changed().await.is_err() {
            // The fleet has ended before; nobody shall take that for readiness.
            std::future::pending::<()>().await;
        }
    }
}
