//! The worker process: an engine thread that computes, and a network thread that talks.
//!
//! Nothing on the network thread computes, so a heartbeat never waits for the device; the two
//! threads are connected by channels.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use net::{BoxFuture, advertised, patient_server};
use proto::wire::{Failed, WorkerEvent, worker_event::Event};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::backend::Backend;
use crate::backend::cpu::Cpu;
use crate::backend::cuda::{Cuda, Options};
use crate::config::{Config, Device};
use crate::control::{ControlSession, engine_panicked};
use crate::engine::{Command, NetworkThread, engine};
use crate::error::{Error, Result};
use crate::exchange::grpc::ExchangeService;
use crate::interrupt::Interrupt;
use crate::receive::Loaders;
use crate::watch::Watch;

/// Time between two checks for a device call that hangs.
const CHECK_CALLS: Duration = Duration::from_millis(500);
/// Longest wait for the engine thread at the end: it may compute, or wait for its device.
const ENGINE_ENDS: Duration = Duration::from_secs(3);
/// Longest time to tell the coordinator that the device hangs.
const TELL: Duration = Duration::from_secs(1);

/// Carries out the coordinator's commands until the run ends or `shutdown` resolves.
///
/// The other half connects to `listener`.
///
/// # Errors
/// [`Error`] if the run failed, the coordinator stays unreachable, or the device can't be used.
pub fn run(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> BoxFuture<Result<()>> {
    Box::pin(run_until(config, listener, Box::pin(shutdown)))
}

async fn run_until(config: Config, listener: TcpListener, shutdown: BoxFuture<()>) -> Result<()> {
    let own = listener
        .local_addr()
        .map_err(|why| Error::System { doing: "reading the listener's address", why })?;
    let mut shutdown = shutdown;
    let (given, patience) = (config.advertise.as_deref(), config.coordinator_deadline);
    let address = tokio::select! {
        found = advertised(own, given, &config.coordinator, patience) => {
            found.map_err(Error::Address)?
        }
        () = &mut shutdown => return Ok(()),
    };
    let interrupt = Interrupt::new();
    let exchange = ExchangeService::new(
        config.trust.clone(),
        format!("this worker ({address})"),
        interrupt.clone(),
        config.peer_deadline,
    );
    let (to_engine, commands) = channel();
    let (events, from_engine) = mpsc::unbounded_channel();
    let tell = events.downgrade(); // the engine's end closes the channel
    let loaders = Arc::new(Loaders::new(config.trust.clone(), events.downgrade()));
    let network = NetworkThread {
        handle: Handle::current(),
        events,
        loaders: loaders.clone(),
        peer_deadline: config.peer_deadline,
        data_deadline: config.data_deadline,
        interrupt: interrupt.clone(),
    };
    let (opened, device) = oneshot::channel();
    let (ended, engine_ended) = oneshot::channel();
    let settings = config.clone();
    std::thread::Builder::new()
        .name("engine".into())
        .spawn(move || {
            let _ = ended.send(on_device(&settings, opened, &commands, &network));
        })
        .map_err(|why| Error::System { doing: "starting the engine thread", why })?;
    let (device, watch) = tokio::select! {
        device = device => device.unwrap_or_else(|_| Err(engine_panicked(&config))),
        () = &mut shutdown => return Ok(()),
    }?;
    let (deadline, on) = (config.device_deadline, config.device.clone());
    let hangs = async {
        let waited = hung(&watch, deadline).await;
        Error::DeviceFault {
            device: device.clone(),
            doing: "work".into(),
            why: format!(
                "no progress for {:.0} s: the device hangs{}",
                waited.as_secs_f64(),
                match on {
                    Device::Cpu { .. } => "",
                    Device::Cuda(_) =>
                        ". The kernel log (dmesg, lines with Xid) may say why; nvidia-smi \
                         --gpu-reset or a restart of the machine may help",
                }
            ),
        }
    };
    let served = tokio::spawn(
        patient_server(config.peer_deadline)
            .add_service(exchange.service())
            .serve_with_incoming(config.trust.accept(listener)),
    );
    let mut session = ControlSession {
        config,
        address,
        device: device.clone(),
        exchange,
        loaders,
        to_engine,
        from_engine,
        interrupt: interrupt.clone(),
    };
    let mut work = Box::pin(session.work(shutdown));
    let result = tokio::select! {
        result = &mut work => result,
        // The engine thread is stuck: the process ends without it.
        fault = hangs => {
            let failed = Failed {
                incarnation: interrupt.incarnation(),
                reason: fault.to_string(),
                retry: true,
                blame: fault.blame().into(),
                ..Failed::default()
            };
            if let Some(events) = tell.upgrade() {
                let _ = events.send(WorkerEvent { event: Some(Event::Failed(failed)) });
            }
            let _ = tokio::time::timeout(TELL, &mut work).await;
            return Err(fault);
        }
    };
    drop(work);
    interrupt.end();
    session.exchange.end();
    drop(session); // no more commands: the engine ends
    served.abort();
    // The process ends without an engine that is slow to notice.
    match tokio::time::timeout(ENGINE_ENDS, engine_ended).await {
        Ok(Ok(Some(fault))) => Err(fault),
        _ => result,
    }
}

/// Resolves once a call to the device has taken longer than `deadline`.
async fn hung(watch: &Watch, deadline: Duration) -> Duration {
    let mut checks = tokio::time::interval(CHECK_CALLS);
    loop {
        checks.tick().await;
        if let Some(waited) = watch.longest().filter(|waited| *waited > deadline) {
            return waited;
        }
    }
}

/// Opens the device, reports its name or the error, and works on it until the commands end or the
/// device can't be used any more.
fn on_device(
    config: &Config,
    opened: oneshot::Sender<Result<(String, Watch)>>,
    commands: &Receiver<Command>,
    network: &NetworkThread,
) -> Option<Error> {
    fn work<B: Backend>(
        dev: Result<B>,
        opened: oneshot::Sender<Result<(String, Watch)>>,
        commands: &Receiver<Command>,
        network: &NetworkThread,
    ) -> Option<Error> {
        match dev {
            Ok(dev) => {
                let _ = opened.send(Ok((dev.name(), dev.watch().clone())));
                engine(dev, commands, network)
            }
            Err(error) => {
                let _ = opened.send(Err(error));
                None
            }
        }
    }
    match &config.device {
        Device::Cpu { threads } => work(Ok(Cpu::new(*threads)), opened, commands, network),
        Device::Cuda(gpu) => {
            let options = Options {
                gpu: gpu.clone(),
                search: config.search.clone(),
                cache: config.kernel_cache.clone(),
                kernels: None,
            };
            work(Cuda::new(&options), opened, commands, network)
        }
    }
}
