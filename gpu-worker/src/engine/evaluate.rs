//! An evaluation: the validation pictures once through the network, in one view or in ten.

use net::FOR_MACHINES;
use proto::wire::{BatchRequest, Evaluate, Evaluated, Split, worker_event::Event};
use tracing::{info, info_span};

use super::{NetworkThread, Running};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::exchange::BatchId;
use crate::views::Average;

impl<B: Backend> Running<B> {
    pub(super) fn evaluate(
        &mut self,
        dev: &mut B,
        command: &Evaluate,
        network: &NetworkThread,
    ) -> Result<()> {
        self.check_at(command.step)?;
        self.send_sent_spans(network);
        let _worker = info_span!("worker", half = self.name).entered();
        let _span = info_span!("evaluate", step = command.step).entered();
        let views: Vec<u32> = match command.views {
            1 => vec![0],
            10 => (1..=10).collect(),
            n => return Err(Error::Command(format!("{n} test views; possible are 1 and 10"))),
        };
        let batches = self.n_val.div_ceil(u64::from(self.request.n_images));
        let request = |this: &Self, batch, view| BatchRequest {
            split: Split::Val.into(),
            step: batch,
            view,
            ..this.request.clone()
        };
        let (mut images, mut sums) = (0, [0.0; 3]);
        for batch in 0..batches {
            let mut average = Average::default();
            for view in &views {
                if network.interrupt.stops(self.incarnation) {
                    return Err(Error::Interrupted);
                }
                self.feed.request(request(self, batch, *view));
                if *view == views[views.len() - 1] && batch + 1 < batches {
                    self.feed.request(request(self, batch + 1, views[0]));
                }
                let (minibatch, _) = self.feed.take(&request(self, batch, *view))?;
                let id = BatchId::Eval { batch, view: *view };
                let (half, exchange) = self.exchange(id, &minibatch);
                let _working = dev.watch().working();
                average.add(half.test(dev, exchange, &minibatch)?, &minibatch.labels);
            }
            let n = average.n_images();
            let (loss, top1, top5) = average.score();
            images += n as u64;
            for (sum, value) in sums.iter_mut().zip([loss, top1, top5]) {
                *sum += value * n as f64;
            }
        }
        let [loss, top1_error, top5_error] = sums.map(|sum| sum / images.max(1) as f64);
        if images > 0 && !loss.is_finite() {
            let last = (self.n_val - 1) % u64::from(self.request.n_images) + 1;
            return Err(self.half.divergence(dev, self.step, loss, last as usize));
        }
        let working = dev.watch().working();
        let magnitudes = self.half.magnitudes(dev)?;
        drop(working);
        if self.reports {
            // The coordinator's log has the line for people.
            info!(name: FOR_MACHINES, loss, top1_error, top5_error, n_images = images, "evaluated");
        }
        network.send(Event::Evaluated(Evaluated {
            incarnation: self.incarnation,
            step: command.step,
            n_images: images,
            loss,
            top1_error,
            top5_error,
            magnitudes,
        }));
        Ok(())
    }
}
