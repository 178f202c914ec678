//! Observers of a run, such as Prometheus, see its progress and can't disturb it.

use std::collections::BTreeMap;
use std::time::Duration;

use coordinator::Ending;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::fakes::{Habits, loader};
use crate::{Coordinator, ended, shards, undisturbed};

/// A coordinator with an endpoint, and where that is.
async fn watched(run_dir: &std::path::Path, steps: u64) -> (Coordinator, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let coordinator = Coordinator::start(run_dir, steps, |c| c.metrics = Some(listener)).await;
    (coordinator, at)
}

/// Sends it these bytes; everything that comes back.
async fn ask(at: &str, request: &str) -> String {
    let talk = async {
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    tokio::time::timeout(Duration::from_secs(30), talk).await.unwrap()
}

async fn scrape(at: &str) -> BTreeMap<String, f64> {
    let answer = ask(at, "GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let samples = body.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name.to_string(), value.parse().unwrap()))
        .collect()
}

#[tokio::test]
async fn a_scrape_says_what_each_half_has_done_and_who_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut coordinator, at) = watched(dir.path(), 1_000_000).await;
    let before = scrape(&at).await;
    assert_eq!(before["alexnet_phase{phase=\"waiting\"}"], 1.0);
    assert_eq!(before["alexnet_worker_present{half=\"A\"}"], 0.0);
    assert!(!before.contains_key("alexnet_training_loss"), "no step, no loss");
    assert!(!before.contains_key("alexnet_checkpoint_age_seconds"), "no checkpoint, no age");

    let _loader = loader(&coordinator.address, "d1").await;
    let habits = Habits { dies_at: Some(50), ..Habits::default() };
    let dying = coordinator.worker("a:1", habits);
    coordinator.until(|s| s.workers.len() == 1).await;
    let workers = ["b:1", "c:1"].map(|at| coordinator.worker(at, Habits::default()));
    coordinator.until(|s| s.incarnation == 2 && s.step > 50).await;
    let page = scrape(&at).await;
    assert_eq!(page["alexnet_restarts_total"], 1.0);
    assert_eq!(page["alexnet_incarnation"], 2.0);
    assert_eq!((page["alexnet_workers"], page["alexnet_loaders"]), (2.0, 1.0));
    let address = coordinator.status.borrow().loaders[0].address.clone();
    assert_eq!(page[&format!("alexnet_loader_present{{loader=\"{address}\"}}")], 1.0);
    assert_eq!(page["alexnet_training_top1_error_ratio"], 0.75);
    assert_eq!(page["alexnet_training_top5_error_ratio"], 0.25);
    assert_eq!(page["alexnet_images_per_second"], 10_000.0);
    assert!(page["alexnet_checkpoint_step"] >= 48.0);
    assert!((0.0..30.0).contains(&page["alexnet_checkpoint_age_seconds"]));
    let evaluated = page["alexnet_evaluation_step"];
    assert_eq!(page["alexnet_evaluation_top1_error_ratio"], 1.0 / (1.0 + evaluated));
    for half in ["A", "B"] {
        let of = |name: &str| page[&format!("{name}{{half=\"{half}\"}}")];
        let steps = of("alexnet_steps_total");
        assert!(steps > page["alexnet_step"], "some were done twice");
        for (name, ms) in [
            ("step", 1.0),
            ("compute", 0.5),
            ("exchange_wait", 0.25),
            ("peer_late", 0.125),
            ("data_wait", 0.0625),
            ("exchange_transfer", 0.5),
        ] {
            let total = of(&format!("alexnet_{name}_seconds_total"));
            let close = (total - steps * ms / 1000.0).abs() < 1e-9 * steps;
            assert!(close, "{steps} steps of {ms} ms: {name} {total}");
            assert_eq!(of(&format!("alexnet_last_{name}_seconds")), ms / 1000.0);
        }
        assert_eq!(of("alexnet_exchange_received_bytes_total"), steps * 1000.0);
        assert_eq!(of("alexnet_exchange_bytes_per_second"), 2e6);
        assert_eq!(of("alexnet_worker_present"), 1.0);
    }
    coordinator.stop.send(()).unwrap();
    ended(coordinator.run).await.unwrap();
    ended(dying).await;
    for worker in workers {
        ended(worker).await;
    }
}

#[tokio::test]
async fn other_requests_are_answered_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let (coordinator, at) = watched(dir.path(), 20).await;
    for (request, code, says) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found", "there is no / here"),
        ("GET /metricsx HTTP/1.0\r\n\r\n", "404 Not Found", "there is /metrics"),
        (
            "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi",
            "405 Method Not Allowed",
            "not changed by POST",
        ),
        ("nonsense\r\n\r\n", "400 Bad Request", ""),
    ] {
        let answer = ask(&at, request).await;
        assert!(answer.contains(code) && answer.contains(says), "{request:?}: {answer}");
    }
    let refused = ask(&at, "DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(refused.contains("allow: GET, HEAD"), "{refused}");
    let head = ask(&at, "HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(head.contains("200 OK") && head.ends_with("\r\n\r\n"), "{head}");
    let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000));
    let mut stream = TcpStream::connect(&at).await.unwrap();
    let _ = stream.write_all(long.as_bytes()).await; // it may hang up before the end
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(!String::from_utf8_lossy(&answer).contains("200 OK"), "20 kB of headers were taken");
    assert!(scrape(&at).await.contains_key("alexnet_step"), "it answers all the same");
    drop(coordinator);
}

/// More scrapers than are answered at once open a connection and send nothing, or half a request.
#[tokio::test]
async fn scrapers_that_hang_hold_up_neither_the_run_nor_for_long_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let (mut coordinator, at) = watched(dir.path(), 1_000_000).await;
    let mut hanging = Vec::new();
    for i in 0..9 {
        let mut stream = TcpStream::connect(&at).await.unwrap();
        stream.write_all(&b"GET /metrics"[..i]).await.unwrap();
        hanging.push(stream);
    }
    let _loader = loader(&coordinator.address, "d1").await;
    let _workers = ["a:1", "b:1"].map(|at| coordinator.worker(at, Habits::default()));
    let scraping = tokio::spawn(async move { scrape(&at).await });
    coordinator.until(|s| s.step >= 8).await;
    assert!(ended(scraping).await.contains_key("alexnet_step"));
    for mut stream in hanging {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
    }
    coordinator.stop.send(()).unwrap();
    ended(coordinator.run).await.unwrap();
}

/// Something is in the way of TensorBoard's folder: that is said, and costs nothing else.
#[tokio::test]
async fn a_run_without_room_for_tensorboard_says_so_and_trains() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tensorboard"), "in the way").unwrap();
    let coordinator = Coordinator::start(dir.path(), 14, |_| {}).await;
    let _loader = loader(&coordinator.address, "d1").await;
    let _workers = ["a:1", "b:1"].map(|at| coordinator.worker(at, Habits::default()));
    let outcome = coordinator.end().await.unwrap();
    assert_eq!((outcome.ending, outcome.step), (Ending::Finished, 14));
    let said = outcome.notices.join("\n");
    assert_eq!(outcome.notices.len(), 1, "said once: {said}");
    assert!(said.contains("TensorBoard's files are behind") && said.contains("train"), "{said}");
    assert_eq!(shards(dir.path()), undisturbed(14).await);
}
