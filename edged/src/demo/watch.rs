//! Waiting: bounded, interruptible, and with something to look at.
//!
//! Every wait of the demo goes through [`Watch::until`]: it ends with what was
//! awaited, with an error that names it, or because somebody pressed ctrl-C. The
//! progress bar is on standard error and hidden when that is no terminal.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Between two looks at what is awaited: short beside any wait of ours, long
/// beside a call over the socket.
const LOOK: Duration = Duration::from_millis(5);

/// What a shell gives a program that ctrl-C ended: 128 and the signal's number.
const INTERRUPTED: i32 = 130;

/// Who waits, and where words about it go.
pub(super) struct Watch<'a> {
    bar: ProgressBar,
    err: &'a mut dyn Write,
    interrupt: Interrupt,
}

impl<'a> Watch<'a> {
    /// A watch over `total` segments that talks to `err`.
    ///
    /// # Errors
    /// Signals cannot be heard.
    pub(super) fn new(total: u64, err: &'a mut dyn Write) -> Result<Self> {
        let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg}  {elapsed}")
            .context("the template of the bar")?;
        let bar = ProgressBar::new(total).with_style(style);
        Ok(Self {
            bar,
            err,
            interrupt: Interrupt::listen()?,
        })
    }

    /// Says a line to people, above the bar.
    pub(super) fn say(&mut self, line: &str) {
        let err = &mut *self.err;
        // Words about the work: if nobody reads them, the work still counts.
        self.bar.suspend(|| drop(writeln!(err, "{line}")));
    }

    /// Says beside the bar what is being done.
    pub(super) fn doing(&self, what: &'static str) {
        self.bar.set_message(what);
    }

    /// So many segments are done with.
    pub(super) fn at(&self, count: u64) {
        self.bar.set_position(count);
    }

    /// Takes the bar away.
    pub(super) fn done(&self) {
        self.bar.finish_and_clear();
    }

    /// Asks again and again until there is an answer.
    ///
    /// # Errors
    /// What `ask` says, `patience` at its end, or an interrupt.
    pub(super) fn until<T>(
        &self,
        what: &str,
        patience: Duration,
        mut ask: impl FnMut() -> Result<Option<T>>,
    ) -> Result<T> {
        let since = Instant::now();
        loop {
            self.go_on()?;
            if let Some(answer) = ask()? {
                return Ok(answer);
            }
            if since.elapsed() > patience {
                bail!("waited {} s for {what}", patience.as_secs());
            }
            self.bar.tick();
            std::thread::sleep(LOOK);
        }
    }

    /// Nothing, unless the demo was asked to end.
    ///
    /// # Errors
    /// It was.
    pub(super) fn go_on(&self) -> Result<()> {
        match self.interrupt.heard.load(Ordering::SeqCst) {
            true => bail!("interrupted, both nodes are stopped"),
            false => Ok(()),
        }
    }
}

/// Hears SIGINT, SIGTERM and SIGHUP: the first asks the demo to clean up, the
/// second ends it at once (the kernel then ends the nodes).
struct Interrupt {
    heard: Arc<AtomicBool>,
    end: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Interrupt {
    fn listen() -> Result<Self> {
        let (heard, end) = (Arc::new(AtomicBool::new(false)), CancellationToken::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot listen for signals")?;
        let signals = {
            let _inside = runtime.enter();
            [
                SignalKind::interrupt(),
                SignalKind::terminate(),
                SignalKind::hangup(),
            ]
            .map(signal)
        };
        let [interrupt, terminate, hangup] = signals;
        let (mut interrupt, mut terminate, mut hangup) = (interrupt?, terminate?, hangup?);
        let (told, ended) = (Arc::clone(&heard), end.clone());
        let listen = async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                    () = ended.cancelled() => return,
                }
                if told.swap(true, Ordering::SeqCst) {
                    std::process::exit(INTERRUPTED);
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("demo-signals".to_owned())
            .spawn(move || runtime.block_on(listen))
            .context("cannot listen for signals")?;
        Ok(Self {
            heard,
            end,
            thread: Some(thread),
        })
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            // It only waits; a panic of it has nothing to tell.
            let _ = thread.join();
        }
    }
}
