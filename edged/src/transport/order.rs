//! What the core asks of one link: the effects that are a link's, as it needs them.

use relay_core::change::{Due, Part, Sent};
use relay_core::event::{CloseWhy, Effect, Parcel};
use relay_core::id::{LinkId, PackNo, PartialNo};
use relay_core::wire::{Ack, Durability, Frame};

/// One thing for a link to do.
#[derive(Debug)]
pub(crate) enum Order {
    /// Say an answer on control.
    Say(Frame),
    /// Offer a large segment.
    Offer(Box<Parcel>),
    /// Put bytes on the wire.
    Send(Box<Piece>),
    /// Take back a large segment, or a pack that is partly sent.
    Reset(Due),
    /// Ask for the body of an offer, from this byte on; what came before is kept under
    /// this number.
    Want {
        sent: Sent,
        from: u64,
        partial: Option<PartialNo>,
    },
    /// Answer an offer that is not needed.
    Have(Sent),
    /// End the link.
    Close(CloseWhy),
}

/// Bytes of a parcel to put on the wire.
#[derive(Debug)]
pub(crate) struct Piece {
    /// Which pack and members.
    pub(crate) parcel: Parcel,
    /// First byte: of a pack's table and the selected bodies behind it, of a large
    /// segment's body alone.
    pub(crate) from: u64,
    /// How many.
    pub(crate) bytes: u64,
    /// Whether these are the last.
    pub(crate) last: bool,
}

/// What answers call the pack of a peer.
pub(crate) type Name = (PackNo, Part);

/// The link an effect is for, and what it asks; `None` for what is not a link's.
pub(crate) fn order(effect: Effect, durability: Durability) -> Option<(LinkId, Order)> {
    Some(match effect {
        Effect::Offer { link, parcel } => (link, Order::Offer(Box::new(parcel))),
        Effect::Send {
            link,
            parcel,
            from,
            bytes,
            last,
        } => (
            link,
            Order::Send(Box::new(Piece {
                parcel,
                from,
                bytes,
                last,
            })),
        ),
        Effect::Reset { link, due } => (link, Order::Reset(due)),
        Effect::Want {
            link,
            sent,
            from,
            partial,
        } => (
            link,
            Order::Want {
                sent,
                from,
                partial,
            },
        ),
        Effect::Have { link, sent } => (link, Order::Have(sent)),
        Effect::Ack {
            link,
            receipt,
            sent,
            table,
            count,
            refused,
        } => {
            let Sent {
                ledger: _,
                pack,
                part,
            } = sent;
            let ack = Ack {
                pack,
                part,
                receipt,
                table,
                count,
                durability,
                refused,
            };
            (link, Order::Say(Frame::Ack(ack)))
        }
        Effect::Busy {
            link,
            sent,
            why,
            retry_after,
        } => {
            let Sent {
                ledger: _,
                pack,
                part,
            } = sent;
            let retry_after_ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
            (
                link,
                Order::Say(Frame::Busy {
                    pack,
                    part,
                    why,
                    retry_after_ms,
                }),
            )
        }
        Effect::Settle { link, receipt } => (link, Order::Say(Frame::Settled { receipt })),
        Effect::Close { link, why } => (link, Order::Close(why)),
        Effect::Admit(_)
        | Effect::Accept(_)
        | Effect::AcceptAs(..)
        | Effect::Refuse(..)
        | Effect::Discard(_)
        | Effect::FindKey(..)
        | Effect::Persist(..)
        | Effect::Page { .. }
        | Effect::Owing { .. }
        | Effect::Fetch(_)
        | Effect::FindExpired { .. }
        | Effect::FindStuck { .. }
        | Effect::LookUp { .. }
        | Effect::Divide { .. }
        | Effect::Group(_)
        | Effect::Walk { .. }
        | Effect::Recall { .. }
        | Effect::Dial(_)
        | Effect::Verify(_)
        | Effect::Journaled { .. }
        | Effect::Forget(_)
        | Effect::Answer(..)
        | Effect::Shun(_)
        | Effect::Drained => return None,
    })
}
