//! Runs the real binary: starts it, waits until it serves, talks to it, kills it.
//!
//! # Invariants
//! - A process never outlives the value that stands for it.
//! - Every wait has a bound, and waits for what happened: the line `ready` in the log, an exit.
//! - Listeners are on 127.0.0.1 and take a free port.
//!
//! Not here: what a test expects.

use bench::http::{self, Response};
use bench::remote_write::{self, Series};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// How long a process may take to serve, to answer or to end.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How a process is to be started.
#[derive(Debug)]
pub struct Launch {
    data_dir: PathBuf,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    listen: String,
    memory_max: Option<u64>,
}

impl Launch {
    /// All roles, data in `data_dir`, on a free port.
    #[must_use]
    pub fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
            args: Vec::new(),
            environment: Vec::new(),
            listen: "127.0.0.1:0".to_owned(),
            memory_max: None,
        }
    }

    /// Gives it so many bytes of memory of its own and no more: it ends when it asks for more.
    #[must_use]
    pub fn memory_max(mut self, bytes: u64) -> Self {
        self.memory_max = Some(bytes);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Listens on this address instead of a free one.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address.to_string();
        self
    }

    /// Sets a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Writes `yaml` beside the data directory and starts with it.
    ///
    /// # Panics
    /// If the file cannot be written.
    #[must_use]
    pub fn config(self, yaml: &str) -> Self {
        let path = self.data_dir.with_extension("yaml");
        std::fs::write(&path, yaml).expect("the configuration can be written");
        self.args(["--config", &path.display().to_string()])
    }

    /// Starts it and waits until it serves.
    ///
    /// # Panics
    /// If it does not say `ready` within [`PATIENCE`]; its log is shown.
    #[must_use]
    pub fn start(self) -> Cumae {
        let mut child = self.spawn(Stdio::null());
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ready, is_ready) = sync_channel(1);
        let lines = Arc::clone(&log);
        let reader = thread::spawn(move || collect(BufReader::new(stderr), &lines, &ready));
        let started = is_ready.recv_timeout(PATIENCE);
        let mut cumae = Cumae {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            data_dir: self.data_dir,
            log,
            reader: Some(reader),
        };
        match started {
            Ok(address) => cumae.address = address,
            Err(_) => panic!("cumae is not ready:\n{}", cumae.log()),
        }
        cumae
    }

    /// Starts it and waits for its end: for starts that are refused, and for commands.
    ///
    /// # Panics
    /// If it still runs after [`PATIENCE`].
    #[must_use]
    pub fn run(self) -> Ended {
        let mut child = self.spawn(Stdio::piped());
        let mut stdout = child.stdout.take().expect("stdout is a pipe");
        let printed = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        let stderr = child.stderr.take().expect("stderr is a pipe");
        let log = Arc::new(Mutex::new(Vec::new()));
        let (ready, _is_ready) = sync_channel(1);
        let lines = Arc::clone(&log);
        let reader = thread::spawn(move || collect(BufReader::new(stderr), &lines, &ready));
        let status = wait(&mut child);
        reader.join().expect("the log is read to its end");
        let log = log.lock().expect("no reader panicked").join("\n");
        let printed = printed.join().expect("stdout is read to its end");
        Ended { status, log, printed: printed.expect("stdout is text") }
    }

    /// The binary, in a shell that sets its bound if it has one.
    fn command(&self) -> Command {
        let Some(bytes) = self.memory_max else { return Command::new(binary()) };
        let mut shell = Command::new("sh");
        let bounded = "ulimit -d \"$0\" && exec \"$@\"";
        shell.args(["-c", bounded, &(bytes / 1024).to_string()]).arg(binary());
        shell
    }

    fn spawn(&self, stdout: Stdio) -> Child {
        self.command()
            .args(["--data-dir", &self.data_dir.display().to_string(), "--listen", &self.listen])
            .args(&self.args)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .spawn()
            .expect("cumae can be started")
    }
}

/// How a process ended.
#[derive(Debug)]
pub struct Ended {
    /// Its status; `None` if it had to be killed because it did not end.
    pub status: Option<ExitStatus>,
    /// What it wrote to stderr.
    pub log: String,
    /// What a command wrote to stdout.
    pub printed: String,
}

impl Ended {
    /// Whether its status was 0.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }
}

/// A running process.
#[derive(Debug)]
pub struct Cumae {
    child: Child,
    address: SocketAddr,
    data_dir: PathBuf,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Cumae {
    /// Where it serves HTTP.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where its data lies.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has written to stderr so far.
    ///
    /// # Panics
    /// If the thread that reads it panicked.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().expect("no reader panicked").join("\n")
    }

    /// One request on a connection of its own.
    ///
    /// # Panics
    /// If there is no answer.
    #[must_use]
    pub fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Response {
        match http::request(self.address, method, path, headers, body) {
            Ok(response) => response,
            Err(error) => panic!("{method} {path}: {error}\n{}", self.log()),
        }
    }

    /// `GET path`.
    #[must_use]
    pub fn get(&self, path: &str) -> Response {
        self.send("GET", path, &[], b"")
    }

    /// Sends series by remote write 1.0.
    #[must_use]
    pub fn push(&self, series: &[Series]) -> Response {
        self.send("POST", "/api/v1/push", &remote_write::HEADERS, &remote_write::body(series))
    }

    /// Sends series by remote write 1.0 for a tenant.
    #[must_use]
    pub fn push_as(&self, tenant: &str, series: &[Series]) -> Response {
        let mut headers = remote_write::HEADERS.to_vec();
        headers.push(("X-Scope-OrgID", tenant));
        self.send("POST", "/api/v1/push", &headers, &remote_write::body(series))
    }

    /// Asks the query API: `path` below `/api/v1/`, parameters, answer as JSON whatever the status.
    ///
    /// # Panics
    /// If the answer is not JSON.
    #[must_use]
    pub fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Value {
        let response = self.get(&format!("/api/v1/{path}?{}", http::form(parameters)));
        match serde_json::from_slice(&response.body) {
            Ok(value) => value,
            Err(error) => panic!("{path}: {error}: {} {}", response.status, response.text()),
        }
    }

    /// The result of an instant query at a time in seconds since 1970.
    ///
    /// # Panics
    /// If the query fails.
    #[must_use]
    pub fn query(&self, query: &str, time_s: f64) -> Value {
        let mut answer = self.api("query", &[("query", query), ("time", &time_s.to_string())]);
        assert_eq!(answer["status"], "success", "{query}: {answer}\n{}", self.log());
        answer["data"]["result"].take()
    }

    /// The resident memory in bytes.
    ///
    /// # Panics
    /// If the process is gone.
    #[must_use]
    pub fn rss_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.pid());
        let status = std::fs::read_to_string(path).expect("the process runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
        kib.expect("the kernel says how much memory is resident") * 1024
    }

    /// Kills it without a warning (SIGKILL) and waits until it is gone.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill_9(mut self) {
        self.child.kill().expect("a process of ours can be killed");
        self.child.wait().expect("a killed process ends");
    }

    /// Asks it to end (SIGTERM) and waits for it.
    ///
    /// # Panics
    /// If it cannot be asked.
    #[must_use]
    pub fn terminate(mut self) -> Ended {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.expect("a child has a process id");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .expect("a process of ours can be asked to end");
        let status = wait(&mut self.child);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the log is read to its end");
        }
        Ended { status, log: self.log(), printed: String::new() }
    }
}

impl Drop for Cumae {
    fn drop(&mut self) {
        // Already gone is what we want.
        drop(self.child.kill());
        drop(self.child.wait());
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}

/// Asks `happened` again and again until it says yes or [`PATIENCE`] is over.
#[must_use]
pub fn eventually(mut happened: impl FnMut() -> bool) -> bool {
    let deadline = now() + PATIENCE;
    while now() < deadline {
        if happened() {
            return true;
        }
        pause();
    }
    false
}

/// An address on 127.0.0.1 that nobody listens on: for member lists, which name ports beforehand.
///
/// Its port lies below those that the system hands out by itself, or a connection of somebody else
/// could take it before its listener does.
///
/// # Panics
/// If the machine has no free port.
#[must_use]
pub fn free_address() -> SocketAddr {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 20_000;
    const COUNT: u16 = 12_000;
    // Processes that run at the same moment begin at different places.
    let begin = u16::try_from(std::process::id().wrapping_mul(97) % u32::from(COUNT)).unwrap_or(0);
    let found = (0..COUNT).find_map(|_| {
        let offset = TAKEN.fetch_add(1, Ordering::Relaxed) % COUNT;
        let address = SocketAddr::from(([127, 0, 0, 1], FIRST + (begin + offset) % COUNT));
        TcpListener::bind(address).is_ok().then_some(address)
    });
    found.expect("a free port")
}

/// The moment, for measuring how long something took.
#[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970: what a sender stamps its samples with.
///
/// # Panics
/// If the clock is set before 1970.
#[expect(clippy::disallowed_methods, reason = "other processes live in real time")]
#[must_use]
pub fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let millis = since.expect("the clock is set after 1970").as_millis();
    i64::try_from(millis).expect("milliseconds fit for 292 million years")
}

/// A hundredth of a second: between two looks at another process, which cannot wake us.
fn pause() {
    let (_nobody, never) = sync_channel::<()>(0);
    // The sender lives to the end of this function, so the wait runs its full time.
    let _ = never.recv_timeout(Duration::from_millis(10));
}

/// Keeps each line of the log; sends the address from the line that says `ready`.
fn collect(log: impl BufRead, lines: &Mutex<Vec<String>>, ready: &SyncSender<SocketAddr>) {
    for line in log.lines() {
        let Ok(line) = line else { return };
        let address = line.contains(" ready ").then(|| {
            let (_, rest) = line.split_once("listen=")?;
            rest.split_whitespace().next()?.trim_matches('"').parse().ok()
        });
        if let Ok(mut lines) = lines.lock() {
            lines.push(line);
        }
        if let Some(Some(address)) = address {
            let _ = ready.try_send(address);
        }
    }
}

/// Waits for the end of a process; kills it when it takes longer than [`PATIENCE`].
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let mut status = None;
    let ended = eventually(|| {
        status = child.try_wait().ok().flatten();
        status.is_some()
    });
    if !ended {
        drop(child.kill());
        drop(child.wait());
    }
    status
}

/// Runs a command of the binary to its end.
///
/// # Panics
/// If it cannot be run.
#[must_use]
pub fn command(args: &[&str]) -> std::process::Output {
    Command::new(binary()).args(args).output().expect("the binary runs")
}

/// Whether the binary is one to be used, which the environment names: then bounds of time hold that
/// the tests' own, without optimisation, cannot keep.
#[must_use]
pub fn is_released() -> bool {
    std::env::var_os("CUMAE_BIN").is_some()
}

fn binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| {
        if let Some(path) = std::env::var_os("CUMAE_BIN") {
            return path.into();
        }
        let exe = std::env::current_exe().expect("a test knows its own path");
        let profile_dir = exe.ancestors().nth(2).expect("tests lie in target/<profile>/deps");
        let path = profile_dir.join("cumae");
        if !is_current(&path) {
            build(profile_dir);
        }
        path
    })
}

fn build(profile_dir: &Path) {
    let profile = match profile_dir.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "test",
        Some(name) => name,
    };
    let target_dir = profile_dir.parent().expect("a profile lies in a target directory");
    let status = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "node", "--bin", "cumae", "--profile", profile])
        .arg("--target-dir")
        .arg(target_dir)
        .current_dir(workspace())
        .status()
        .expect("cargo can be started");
    assert!(status.success(), "cumae does not build");
}

/// Whether the binary is there and no source that it is made of is newer.
fn is_current(binary: &Path) -> bool {
    let Ok(built) = binary.metadata().and_then(|metadata| metadata.modified()) else {
        return false;
    };
    let crates = std::fs::read_dir(workspace()).expect("the workspace can be read");
    let sources = crates
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name() != "tests")
        .map(|entry| entry.path().join("src"));
    sources.filter(|path| path.is_dir()).all(|path| !has_newer(&path, built))
}

fn has_newer(dir: &Path, than: SystemTime) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.filter_map(Result::ok).any(|entry| {
        let path = entry.path();
        if path.is_dir() {
            return has_newer(&path, than);
        }
        entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|time| time > than)
    })
}

/// The root of the repository.
///
/// # Panics
/// Never: this crate lies in it.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate lies in the workspace")
}
