//! One link: the task that owns one QUIC connection, and all tasks of its streams.
//!
//! The owner hears orders, accepts streams, routes each to the task that serves it and
//! notices what has ended. It does no work of its own that could wait, so that orders
//! are always taken. However the link ends, its tasks have ended before the core hears
//! that it is down, and it hears so exactly once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quinn::{ConnectionError, RecvStream, SendStream, VarInt};
use relay_core::change::Due;
use relay_core::event::{Input, Parcel};
use relay_core::id::LaneNo;
use relay_core::wire::{Frame, Goodbye};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use super::download::{self, Answer, Waiting};
use super::error::LinkError;
use super::odometer::Odometer;
use super::order::{Name, Order, Piece};
use super::shared::Line;
use super::{control, lane, upload};

/// Orders that may wait for one link: the core's own bounds (packs not settled, parcels
/// in flight) stay below this, so a full queue is a broken invariant.
pub(crate) const ORDERS: usize = 4096;
/// How long a link that we end stays for the peer to read why.
const LINGER: Duration = Duration::from_millis(250);

/// The two halves of the conversation's control.
pub(crate) struct Control {
    /// Ours, with our Hello said.
    pub(crate) send: SendStream,
    /// The peer's, with its Hello heard.
    pub(crate) recv: RecvStream,
}

/// What a task of a link was, when it ends well.
#[derive(Debug)]
pub(crate) enum Ended {
    /// The peer leaves, and may have said why.
    Bye(Option<Goodbye>),
    /// Our control stream is read to its end.
    Said,
    /// A stream of the peer's is read to its end.
    Heard,
    /// A lane has no more to send.
    Lane,
    /// A large segment is at the peer's QUIC, or is not to be sent.
    Upload(Due),
}

/// Serves a link from its Hello to its end; answers why it ended.
pub(crate) async fn serve(
    line: Arc<Line>,
    control: Control,
    orders: mpsc::Receiver<Order>,
) -> String {
    let mut tasks = JoinSet::new();
    let (say, said) = mpsc::channel(ORDERS);
    tasks.spawn(control::say(control.send, said));
    tasks.spawn(control::hear(Arc::clone(&line), control.recv));
    let (desk, waiting) = mpsc::channel(16);
    let mut link = Link {
        line,
        tasks,
        arriving: JoinSet::new(),
        say: Some(say),
        desk,
        lanes: BTreeMap::new(),
        uploads: BTreeMap::new(),
        downloads: BTreeMap::new(),
        odometer: Odometer::new(),
    };
    let end = link.run(orders, waiting).await;
    link.end(end).await
}

struct Link {
    line: Arc<Line>,
    tasks: JoinSet<Result<Ended, LinkError>>,
    /// Those of large segments on their way in: they are not cut short, and end by
    /// themselves when the connection is closed, with what they have kept.
    arriving: JoinSet<Result<Ended, LinkError>>,
    /// To the writer of control; closed once we have said Bye.
    say: Option<mpsc::Sender<Frame>>,
    /// Where tasks announce offers that wait for an answer.
    desk: mpsc::Sender<Waiting>,
    lanes: BTreeMap<LaneNo, mpsc::Sender<lane::Work>>,
    uploads: BTreeMap<Due, Upload>,
    downloads: BTreeMap<Name, oneshot::Sender<Answer>>,
    odometer: Odometer,
}

struct Upload {
    pieces: mpsc::Sender<Box<Piece>>,
    reset: CancellationToken,
}

/// What the owner wakes for.
enum Heard {
    Lost(ConnectionError),
    Waiting(Waiting),
    Ended(Result<Result<Ended, LinkError>, JoinError>),
    Order(Order),
    Packs(RecvStream),
    Segment(SendStream, RecvStream),
    Look,
    Stop,
}

/// How a link ends.
enum End {
    /// Without our doing.
    Lost(String),
    /// By us, with this word and text for the peer.
    Closed(Goodbye, String),
}

impl Link {
    async fn run(
        &mut self,
        mut orders: mpsc::Receiver<Order>,
        mut waiting: mpsc::Receiver<Waiting>,
    ) -> End {
        loop {
            let connection = &self.line.connection;
            let heard = tokio::select! {
                // Offers stand at the desk before the orders that answer them are read.
                biased;
                Some(offer) = waiting.recv() => Heard::Waiting(offer),
                Some(ended) = self.tasks.join_next() => Heard::Ended(ended),
                Some(ended) = self.arriving.join_next() => Heard::Ended(ended),
                order = orders.recv() => order.map_or(Heard::Stop, Heard::Order),
                stream = connection.accept_uni() => stream.map_or_else(Heard::Lost, Heard::Packs),
                streams = connection.accept_bi() => {
                    streams.map_or_else(Heard::Lost, |(send, recv)| Heard::Segment(send, recv))
                }
                error = connection.closed() => Heard::Lost(error),
                () = self.odometer.due() => Heard::Look,
                () = self.line.shared.stopping.cancelled() => Heard::Stop,
            };
            if let Some(end) = self.on_heard(heard) {
                return end;
            }
        }
    }

    fn on_heard(&mut self, heard: Heard) -> Option<End> {
        match heard {
            Heard::Lost(error) => Some(End::Lost(self.line.shared.explain(&error))),
            Heard::Stop => Some(End::Closed(
                Goodbye::Draining,
                "the daemon goes down".to_owned(),
            )),
            Heard::Waiting(Waiting { name, answer }) => {
                // An earlier offer of the same name is let go.
                self.downloads.insert(name, answer);
                None
            }
            Heard::Packs(stream) => {
                self.tasks
                    .spawn(lane::hear_packs(Arc::clone(&self.line), stream));
                None
            }
            Heard::Segment(send, recv) => {
                let (line, desk) = (Arc::clone(&self.line), self.desk.clone());
                self.arriving
                    .spawn(download::hear(line, (send, recv), desk));
                None
            }
            Heard::Ended(ended) => self.on_ended(ended),
            Heard::Look => {
                self.odometer.look(&self.line);
                None
            }
            Heard::Order(order) => match self.on_order(order) {
                Ok(end) => end,
                Err(error) => self.on_ended(Ok(Err(error))),
            },
        }
    }

    fn on_ended(&mut self, ended: Result<Result<Ended, LinkError>, JoinError>) -> Option<End> {
        let peer = &self.line.peer;
        match ended {
            Ok(Ok(Ended::Bye(why))) => {
                let why = why.map_or("without a word", Goodbye::as_str);
                Some(End::Lost(format!("ended by the peer: {why}")))
            }
            Ok(Ok(Ended::Upload(due))) => {
                // Unless another upload of the same parcel has taken its place.
                if self
                    .uploads
                    .get(&due)
                    .is_some_and(|upload| upload.pieces.is_closed())
                {
                    self.uploads.remove(&due);
                }
                None
            }
            Ok(Ok(Ended::Said | Ended::Heard | Ended::Lane) | Err(LinkError::Gone)) => None,
            Ok(Err(LinkError::Protocol(text))) => {
                warn!(%peer, error = text, "Peer broke the protocol");
                Some(End::Closed(Goodbye::Protocol, text))
            }
            Ok(Err(LinkError::Broken(text))) => {
                error!(%peer, error = text, "Link ends by a fault of our own");
                Some(End::Closed(Goodbye::Internal, text.to_owned()))
            }
            Err(panicked) => {
                error!(%peer, error = %panicked, "Link ends by a fault of our own");
                Some(End::Closed(
                    Goodbye::Internal,
                    "a task of the link has died".to_owned(),
                ))
            }
        }
    }

    fn on_order(&mut self, order: Order) -> Result<Option<End>, LinkError> {
        match order {
            Order::Say(frame) => self.on_say(frame)?,
            Order::Offer(parcel) => {
                self.odometer.expect();
                self.on_offer(parcel);
            }
            Order::Send(piece) => {
                self.odometer.expect();
                self.on_send(piece)?;
            }
            Order::Reset(due) => {
                if let Some(upload) = self.uploads.remove(&due) {
                    upload.reset.cancel();
                    return Ok(None);
                }
                // It is the pack under way in one of them.
                for lane in self.lanes.values() {
                    fits(lane.try_send(lane::Work::TakeBack(due)))?;
                }
            }
            Order::Want {
                sent,
                from,
                partial,
            } => {
                self.on_answer((sent.pack, sent.part), Answer::Want { from, partial });
            }
            Order::Have(sent) => self.on_answer((sent.pack, sent.part), Answer::Have),
            Order::Close(why) => {
                return Ok(Some(End::Closed(why.into(), "asked for".to_owned())));
            }
        }
        Ok(None)
    }

    fn on_say(&mut self, frame: Frame) -> Result<(), LinkError> {
        if let Frame::Ack(relay_core::wire::Ack { pack, part, .. })
        | Frame::Busy { pack, part, .. } = &frame
        {
            // An offer answered on control is let go.
            self.downloads.remove(&(*pack, *part));
        }
        let Some(say) = &self.say else { return Ok(()) };
        fits(say.try_send(frame))
    }

    fn on_answer(&mut self, name: Name, answer: Answer) {
        let Some(waiting) = self.downloads.remove(&name) else {
            debug!(peer = %self.line.peer, ?name, "Answer to an offer that is gone");
            return;
        };
        // The stream of the offer is gone: so is its answer.
        let _ = waiting.send(answer);
    }

    fn on_offer(&mut self, parcel: Box<Parcel>) {
        let (pieces, queued) = mpsc::channel(ORDERS);
        let reset = CancellationToken::new();
        let earlier = self.uploads.insert(
            parcel.due,
            Upload {
                pieces,
                reset: reset.clone(),
            },
        );
        if let Some(earlier) = earlier {
            earlier.reset.cancel();
        }
        self.tasks
            .spawn(upload::offer(Arc::clone(&self.line), parcel, queued, reset));
    }

    fn on_send(&mut self, piece: Box<Piece>) -> Result<(), LinkError> {
        if let Some(upload) = self.uploads.get(&piece.parcel.due) {
            return fits(upload.pieces.try_send(piece));
        }
        let info = &piece.parcel.info;
        if info.is_large() {
            debug!(peer = %self.line.peer, due = ?piece.parcel.due, "Bytes of an offer that is gone");
            return Ok(());
        }
        let (line, tasks) = (&self.line, &mut self.tasks);
        let lane = self.lanes.entry(info.lane).or_insert_with(|| {
            let (pieces, queued) = mpsc::channel(ORDERS);
            tasks.spawn(lane::send_packs(Arc::clone(line), queued));
            pieces
        });
        fits(lane.try_send(lane::Work::Send(piece)))
    }

    /// Ends all there is of the link; answers why, in words.
    async fn end(mut self, end: End) -> String {
        let connection = &self.line.connection;
        let why = match end {
            End::Lost(why) => {
                connection.close(VarInt::from_u32(0), b"");
                why
            }
            End::Closed(word, text) => {
                if let Some(say) = self.say.take() {
                    // A full queue says enough; the close carries the word too.
                    let _ = say.try_send(Frame::Bye { why: word });
                }
                let read = async {
                    while let Some(ended) = self.tasks.join_next().await {
                        if matches!(ended, Ok(Ok(Ended::Said | Ended::Bye(_)))) {
                            break;
                        }
                    }
                };
                // A peer that does not read loses the word, not the code.
                let _ = tokio::time::timeout(LINGER, read).await;
                connection.close(VarInt::from_u32(word.code()), text.as_bytes());
                format!("closed here: {}: {text}", word.as_str())
            }
        };
        // Closed first: a stream dropped on an open connection would seem to end well.
        self.tasks.shutdown().await;
        // Offers without an answer get none; what was wanted is kept.
        self.downloads.clear();
        while self.arriving.join_next().await.is_some() {}
        self.odometer.end(&self.line).await;
        why
    }
}

/// A queue that overflows is a broken invariant; one that is closed belongs to a task
/// that has ended, which is heard of in its own time.
fn fits<T>(sent: Result<(), TrySendError<T>>) -> Result<(), LinkError> {
    match sent {
        Ok(()) | Err(TrySendError::Closed(_)) => Ok(()),
        Err(TrySendError::Full(_)) => Err(LinkError::Broken("more orders than the core allows")),
    }
}

/// The link's number goes with its end, once.
pub(crate) fn down(line: &Line, why: String) -> Input {
    Input::LinkDown {
        peer: line.peer.clone(),
        link: Some(line.link),
        why,
    }
}
