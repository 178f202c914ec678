//! Calls to a coordinator: the state of a run, and the request to stop it.

use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use net::{Role, Trust};
use proto::wire::coordinator_client::CoordinatorClient;
use proto::wire::{RunStatus, StatusRequest, StopRequest};
use tonic::transport::Channel;
use tonic::{Response, Status};

/// Longer than dialing may take, whose error says better why nobody answers.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A client that connects when it is first used, and again after a lost connection.
pub(crate) fn connect(trust: &Trust, address: &str) -> Result<CoordinatorClient<Channel>> {
    Ok(CoordinatorClient::new(trust.dial_lazily(Role::Coordinator, address)?))
}

/// The state of the run.
pub(crate) async fn status(client: &mut CoordinatorClient<Channel>) -> Result<RunStatus> {
    answer(client.status(StatusRequest {})).await
}

/// Asks for a checkpoint and the end of the run; returns the step after which it ends.
pub(crate) async fn stop(client: &mut CoordinatorClient<Channel>, reason: &str) -> Result<u64> {
    let request = StopRequest { reason: reason.into() };
    Ok(answer(client.stop(request)).await?.after_step)
}

async fn answer<T>(call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T> {
    let answer = tokio::time::timeout(ANSWER_WITHIN, call).await;
    let answer = answer.context("the coordinator did not answer within 10 seconds")?;
    // The message alone: the words that tonic puts around it do not help.
    answer.map(Response::into_inner).map_err(|status| anyhow!("{}", status.message().to_owned()))
}
