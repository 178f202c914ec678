//! A worker's session, from its `Join` to the end of its stream.

use net::first_message;
use proto::command::{Command, Finish};
use proto::wire::{self, worker_event};
use tonic::{Status, Streaming};

use super::clock::Timed;
use super::{Inbox, Serve, WorkerStream, convert};
use crate::error::Error;
use crate::run::event::{Event, WorkerId};

impl Serve {
    /// Turns a worker's messages into events until its stream ends.
    pub(super) async fn worker(
        &self,
        mut events: Streaming<wire::WorkerEvent>,
        commands: WorkerStream,
    ) -> Result<(), Status> {
        let first = first_message(&mut events).await?.event;
        let Some(worker_event::Event::Join(join)) = first else {
            return Err(Error::Message("a worker's first event must be Join").into());
        };
        self.same_version("worker", join.version.clone())?;
        if !join.run_id.is_empty() && join.run_id != self.run_id {
            let ours = self.run_id.clone();
            return Err(Error::OtherRunId { theirs: join.run_id, ours }.into());
        }
        if self.is_finished() {
            let finish = Finish { reason: "finished".into(), failed: false };
            let _ = commands.send(Ok(convert::command(Command::Finish(finish)))).await;
            return Ok(());
        }
        let id = WorkerId(self.id());
        self.tell(Inbox::Worker { id, commands: commands.clone() }).await?;
        self.tell(Inbox::Event(convert::joined(id, join))).await?;
        let why = self.messages(id, Timed::new(events), &commands).await?;
        self.tell(Inbox::Event(Event::WorkerLeft { worker: id, why })).await
    }

    /// Passes on a worker's messages; returns why there are no more.
    async fn messages(
        &self,
        worker: WorkerId,
        mut events: Timed<wire::WorkerEvent>,
        commands: &WorkerStream,
    ) -> Result<String, Status> {
        let pong = |event: wire::WorkerEvent| match event.event {
            Some(worker_event::Event::Pong(pong)) => (Some(pong), None),
            _ => (None, Some(event)),
        };
        let ping = |ping| {
            let _ = commands.try_send(Ok(convert::command(Command::Ping(ping))));
        };
        loop {
            let event = match events.next(pong, ping).await {
                Ok(Some(event)) => event,
                Ok(None) => return Ok("it left".to_string()),
                Err(status) => return Ok(format!("its connection ended: {}", status.message())),
            };
            if let Some(worker_event::Event::Leaving(_)) = event.event {
                self.tell(Inbox::Event(Event::WorkerLeaving { worker })).await?;
                continue;
            }
            if let Some(worker_event::Event::LoaderJudged(judged)) = event.event {
                let event = convert::loader_judged(worker, judged);
                self.tell(Inbox::Event(event)).await?;
                continue;
            }
            match convert::message(event, events.clock()) {
                Ok((incarnation, message)) => {
                    let event = Event::Message { worker, incarnation, message };
                    self.tell(Inbox::Event(event)).await?;
                }
                Err(error) => {
                    let why = error.to_string();
                    let _ = commands.send(Err(error.into())).await;
                    return Ok(why);
                }
            }
        }
    }
}
