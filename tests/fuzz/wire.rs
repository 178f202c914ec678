//! Messages: what any of them decodes to, and what is made of those that carry data.

use bytes::Bytes;
use gpu_worker::exchange::frame::TensorReader;
use gpu_worker::receive::Minibatch;
use loader::Source;
use loader::batch::Request;
use prost::Message;
use proto::chunk::{Assembler, chunks};
use proto::wire;

use crate::engine::Target;
use crate::mutate::Shape;

/// Messages of one kind as one: its only field, again and again.
#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    messages: Vec<Bytes>,
}

fn stream<M: Message>(messages: &[M]) -> Vec<u8> {
    Stream { messages: messages.iter().map(|m| m.encode_to_vec().into()).collect() }.encode_to_vec()
}

/// The messages of a stream, as far as they are some.
fn messages<M: Message + Default>(bytes: &[u8]) -> Option<Vec<M>> {
    let stream = Stream::decode(Bytes::copy_from_slice(bytes)).ok()?;
    stream.messages.into_iter().map(|message| M::decode(message).ok()).collect()
}

/// Chunks of 100 bytes, as a slow sender would make them.
fn pieces() -> Vec<wire::Chunk> {
    let all = Bytes::from((0..=255).collect::<Vec<u8>>());
    let piece = |offset: usize| {
        let payload = all.slice(offset..all.len().min(offset + 100));
        wire::Chunk {
            offset: offset as u64,
            total: all.len() as u64,
            crc32: crc32fast::hash(&payload),
            payload,
        }
    };
    [0, 100, 200].map(piece).into()
}

const LIMIT: u64 = 1 << 20;

/// Never a wrong result: what is accepted is what the chunks say, in order, whole.
fn assemble(bytes: &[u8]) -> bool {
    let Some(chunks) = messages::<wire::Chunk>(bytes) else { return false };
    let (mut assembler, mut sent) = (Assembler::new(LIMIT), Vec::new());
    for chunk in chunks {
        sent.extend_from_slice(&chunk.payload);
        assert!(chunk.total <= LIMIT || assembler.clone().take(chunk.clone()).is_err());
        if assembler.take(chunk).is_err() {
            return false;
        }
        let (have, total) = assembler.progress();
        assert!(have <= LIMIT && total.is_none_or(|total| have <= total));
    }
    let whole = assembler.is_complete();
    let total = assembler.progress().1;
    assert!(assembler.clone().into_parts().len() <= sent.len() + 1, "pieces without bytes");
    if whole {
        assert_eq!(total, Some(sent.len() as u64));
        assert_eq!(assembler.into_bytes(), sent);
    }
    whole
}

fn frames() -> Vec<wire::Frame> {
    let header = |micro_batch| wire::Header {
        run_id: "run".into(),
        incarnation: 3,
        step: 9,
        kind: wire::FrameKind::Train.into(),
        at: "conv3".into(),
        direction: wire::Direction::Backward.into(),
        micro_batch,
        encoding: wire::Encoding::F16.into(),
        exponent: -4,
        minibatch: 77,
        ..Default::default()
    };
    let tensor = |micro_batch| {
        let chunks = chunks(Bytes::from(vec![micro_batch as u8; 64]));
        std::iter::once(None)
            .chain(chunks.map(Some))
            .map(move |chunk| wire::Frame { header: Some(header(micro_batch)), chunk })
    };
    tensor(0).chain(tensor(1)).collect()
}

/// A tensor that arrives is one that was announced, of this run and incarnation, whole.
fn receive(bytes: &[u8]) -> bool {
    let Some(frames) = messages::<wire::Frame>(bytes) else { return false };
    let (mut reader, mut received) = (TensorReader::new("run".into(), 3), 0);
    for frame in frames {
        let (header, total) = (frame.header.clone(), frame.chunk.as_ref().map(|c| c.total));
        match reader.take(frame) {
            Err(_) => return false,
            Ok(None) => {}
            Ok(Some(tensor)) => {
                let header = header.unwrap();
                assert_eq!((header.run_id.as_str(), header.incarnation), ("run", 3));
                assert_eq!(tensor.key.at, header.at);
                let len: usize = tensor.parts.iter().map(Bytes::len).sum();
                assert_eq!(Some(len as u64), total);
                received += 1;
            }
        }
    }
    received > 0
}

fn head() -> wire::BatchHead {
    wire::BatchHead {
        n_images: 2,
        crop: 4,
        label: vec![1, 2],
        row: vec![0, 3],
        column: vec![3, 0],
        flip: vec![true, false],
        shift: vec![0.5; 6],
        image: vec![7, 8],
        digest: 99,
        data_set: "d".into(),
        made_us: 5,
    }
}

fn minibatch(bytes: &[u8]) -> bool {
    let Ok(head) = wire::BatchHead::decode(bytes) else { return false };
    let Ok(batch) = Minibatch::from_wire(head, vec![Bytes::from(vec![0; 96])]) else {
        return false;
    };
    assert_eq!(batch.labels.len(), batch.crops.len());
    true
}

fn request() -> wire::BatchRequest {
    wire::BatchRequest {
        data_set: "d".into(),
        split: wire::Split::Train.into(),
        step: 3,
        n_images: 4,
        seed: 7,
        crop: 12,
        crop_offsets: 2,
        flip: true,
        color_noise: 0.1,
        view: 0,
        traced: true,
        next_step: Some(4),
    }
}

/// The conversion of a request to a loader, with a limit on the number of pictures.
fn serve(source: &Source, bytes: &[u8]) -> bool {
    let Ok(asked) = wire::BatchRequest::decode(bytes) else { return false };
    let Ok(request) = loader::serve::request(&asked) else { return false };
    let request = Request { n_images: request.n_images % 100, ..request };
    source.minibatch(&request).is_ok_and(|made| {
        assert!((1..=request.n_images).contains(&made.n) && made.labels.len() == made.n);
        assert_eq!(made.pixels.len(), made.n * 3 * request.crop * request.crop);
        true
    })
}

fn data_set() -> wire::DataSet {
    wire::DataSet {
        name: "shapes".into(),
        digest: "d".into(),
        side: 2,
        classes: vec!["a".into(), "b".into()],
        n_train: 100,
        n_val: 10,
        mean: vec![0; 48].into(),
        colors: vec![0.5; 9],
    }
}

fn begin() -> wire::WorkerCommand {
    let recipe = model::recipe::Recipe::default().to_toml();
    let begin = wire::Begin {
        run_id: "run".into(),
        incarnation: 1,
        partition: wire::Partition::HalfA.into(),
        recipe,
        classes: 10,
        peer: "h:1".into(),
        loaders: vec![wire::KnownLoader { address: "l:1".into(), ..Default::default() }],
        ..Default::default()
    };
    wire::WorkerCommand { command: Some(wire::worker_command::Command::Begin(begin)) }
}

fn order(bytes: &[u8]) -> bool {
    let Ok(command) = wire::WorkerCommand::decode(bytes) else { return false };
    let Some(wire::worker_command::Command::Begin(begin)) = command.command else { return true };
    let recipe = proto::convert::recipe(&begin.recipe);
    let (Ok(_), Ok(recipe)) = (proto::convert::partition(begin.partition), recipe) else {
        return false;
    };
    model::shape::Network::new(&recipe, begin.classes as usize).is_ok()
}

/// Any bytes as any message.
fn any(bytes: &[u8]) -> bool {
    macro_rules! all {
        ($($message:ident),*) => { [$(wire::$message::decode(bytes).is_ok()),*] };
    }
    let some = all!(
        Frame,
        Header,
        Chunk,
        Sent,
        DataSet,
        BatchRequest,
        BatchChunk,
        BatchHead,
        Ping,
        Pong,
        Timing,
        LayerTime,
        Span,
        WorkerEvent,
        Halt,
        Halted,
        WorkerCommand,
        LoaderEvent,
        LoaderCommand,
        RunStatus,
        StopRequest,
        Stopping,
        FileRequest,
        FileChunk,
        Stored
    );
    some.contains(&true)
}

pub(crate) fn targets() -> Vec<Target> {
    let event = wire::WorkerEvent {
        event: Some(wire::worker_event::Event::Timing(wire::Timing {
            layers: vec![wire::LayerTime { layer: "fc8".into(), ..Default::default() }],
            spans: vec![wire::Span { row: "send".into(), ns: 5, ..Default::default() }],
            ..Default::default()
        })),
    };
    let all = vec![
        event.encode_to_vec(),
        begin().encode_to_vec(),
        head().encode_to_vec(),
        data_set().encode_to_vec(),
        frames()[1].encode_to_vec(),
    ];
    let target = |name, seeds, decode: fn(&[u8]) -> bool| {
        Target::new(name, 8 << 20, Shape::Protobuf, seeds, decode)
    };
    let mean = |bytes: &[u8]| {
        let Ok(set) = wire::DataSet::decode(bytes) else { return false };
        let mean = proto::chunk::mean_image(&set.mean, set.side as usize);
        mean.is_some_and(|mean| mean.len() / 3 == (set.side as usize).pow(2))
    };
    let source = Source::open(&"synthetic:16:40:10".parse().unwrap()).unwrap();
    let requests = Target::new(
        "batch request",
        64 << 20,
        Shape::Protobuf,
        vec![request().encode_to_vec()],
        move |bytes| serve(&source, bytes),
    );
    vec![
        requests,
        target("messages", all, any),
        target("orders", vec![begin().encode_to_vec()], order),
        target("chunks", vec![stream(&pieces())], assemble),
        target("frames", vec![stream(&frames())], receive),
        target("minibatch", vec![head().encode_to_vec()], minibatch),
        target("mean image", vec![data_set().encode_to_vec()], mean),
    ]
}
