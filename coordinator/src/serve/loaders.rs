//! A loader's session, from its announcement to the end of its stream.

use std::time::Duration;

use net::{Role, first_message};
use proto::DESCRIPTION_LIMIT;
use proto::wire;
use proto::wire::loader_client::LoaderClient;
use tonic::{Status, Streaming};

use super::clock::Timed;
use super::{Inbox, LoaderStream, Serve};
use crate::disk::data_set::DataSet;
use crate::error::Error;
use crate::run::event::{Event, LoaderId};

/// Longest time for the answer of a loader that announced itself.
const DESCRIPTION: Duration = Duration::from_secs(10);

impl Serve {
    /// Adds a loader to the run and takes its spans until its stream ends.
    pub(super) async fn loader(
        &self,
        mut events: Streaming<wire::LoaderEvent>,
        commands: LoaderStream,
    ) -> Result<(), Status> {
        let wire::LoaderEvent { address, version, .. } = first_message(&mut events).await?;
        self.same_version("loader", version)?;
        if self.is_finished() {
            let reason = "finished".into();
            let finish = wire::LoaderCommand { finish: true, reason, ..Default::default() };
            let _ = commands.send(Ok(finish)).await;
            return Ok(());
        }
        tracing::debug!(address, "a loader is there");
        let (data, mean) = self.describe(&address).await?;
        let id = LoaderId(self.id());
        self.tell(Inbox::Loader { id, commands: commands.clone() }).await?;
        let (data, name) = (Box::new(data), address.clone());
        self.tell(Inbox::Event(Event::LoaderJoined { loader: id, address, data, mean })).await?;
        let mut events = Timed::new(events);
        let pong = |event: wire::LoaderEvent| match event {
            wire::LoaderEvent { pong, spans, .. } if spans.is_empty() => (pong, None),
            mut with_spans => (with_spans.pong.take(), Some(with_spans)),
        };
        let ping = |ping| {
            let ping = Some(ping);
            let _ = commands.try_send(Ok(wire::LoaderCommand { ping, ..Default::default() }));
        };
        while let Ok(Some(wire::LoaderEvent { spans, .. })) = events.next(pong, ping).await {
            let (loader, spans) = (name.clone(), events.clock().to_ours(spans));
            self.tell(Inbox::Spans { loader, spans }).await?;
        }
        self.tell(Inbox::Event(Event::LoaderLeft { loader: id })).await
    }

    /// Asks a loader for its data set and mean image, which is `[3, side, side]` f32.
    async fn describe(&self, address: &str) -> Result<(DataSet, bytes::Bytes), Error> {
        let unreachable =
            |why: String| Error::LoaderUnreachable { address: address.to_string(), why };
        let ask = async {
            let channel =
                self.trust.dial(Role::Loader, address).await.map_err(|e| {
                    unreachable(e.by(&format!("the coordinator ({})", self.address)))
                })?;
            let mut client =
                LoaderClient::new(channel).max_decoding_message_size(DESCRIPTION_LIMIT);
            let answer = client.describe(wire::DescribeRequest {}).await;
            answer.map_err(|status| unreachable(status.message().to_string()))
        };
        let answer = tokio::time::timeout(DESCRIPTION, ask).await;
        let set = answer.map_err(|_| unreachable("no answer within 10 s".into()))??.into_inner();
        let side = set.side as usize;
        if proto::chunk::mean_image(&set.mean, side).is_none() {
            let got = set.mean.len();
            let why = format!("a mean image of {got} bytes for {side}×{side} pictures");
            return Err(unreachable(why));
        }
        let colors = <[f32; 9]>::try_from(set.colors.as_slice())
            .map_err(|_| unreachable(format!("{} color numbers, expected 9", set.colors.len())))?;
        let data = DataSet {
            name: set.name,
            digest: set.digest,
            side: set.side,
            classes: set.classes,
            n_train: set.n_train,
            n_val: set.n_val,
            colors,
        };
        Ok((data, set.mean))
    }
}
