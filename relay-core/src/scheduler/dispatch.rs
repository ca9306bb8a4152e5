//! Who acts on what is heard.

use super::Scheduler;
use crate::change::Change;
use crate::event::Input;
use crate::time::Now;

impl Scheduler {
    /// Hands an input to the one that acts on it.
    pub(super) fn dispatch(&mut self, now: Now, input: Input) {
        match input {
            Input::Announced {
                put,
                length,
                lane,
                to,
            } => {
                self.on_announced(put, length, &lane, &to);
            }
            Input::Put(put) => self.on_put(now, put),
            Input::KeyFound { put, row } => self.on_key_found(now, put, row),
            Input::Persisted(ticket, space) => self.on_persisted(now, ticket, space),
            Input::PersistRefused(ticket, space) => self.on_persist_refused(now, ticket, space),
            Input::Paged { peer, lane, rows } => self.on_paged(now, peer, lane, rows),
            Input::Owing { peer, rows } => self.on_owing(now, peer, rows),
            Input::Fetched { due, row, except } => {
                self.on_fetched(now, due, row.map(|row| *row), &except);
            }
            Input::Expired { dues, next } => self.on_expired(now, &dues, next),
            Input::Stuck { dues } => self.on_stuck(now, &dues),
            Input::LookedUp { question, known } => self.on_looked_up(now, question, &known),
            Input::Divided { question, parts } => self.on_divided(now, question, parts),
            Input::Grouped { pack, rows } => self.on_grouped(now, pack, rows),
            Input::Walked { packs, upto, .. } => self.on_walked(packs, upto),
            Input::Recalled {
                question,
                peer,
                rows,
            } => self.on_recalled(question, peer, rows),
            Input::LinkUp {
                peer,
                link,
                greeting,
            } => self.on_link_up(now, &peer, link, greeting),
            Input::LinkDown { peer, link, why } => self.on_link_down(now, &peer, link, why),
            Input::NetworkChanged => self.on_network_changed(now),
            Input::Arrived { link, arrival } => self.on_arrived(now, link, *arrival),
            Input::Offered { link, offer } => self.on_offered(now, link, *offer),
            Input::OfferLost { link, sent, why } => self.on_offer_lost(now, link, sent, why),
            Input::Progressed { partial, bytes } => self.on_progressed(now, partial, bytes),
            Input::Kept { partial, bytes } => self.on_kept(now, partial, bytes),
            Input::Wanted { link, due, from } => self.on_wanted(now, link, due, from),
            Input::Acked { link, ack } => self.on_acked(now, link, ack),
            Input::PeerBusy {
                link,
                pack,
                part,
                why,
                retry_after,
            } => {
                self.on_peer_busy(now, link, (pack, part), why, retry_after);
            }
            Input::PeerSettled { link, receipt } => self.on_peer_settled(link, receipt),
            Input::Taken { link, due, bytes } => self.on_taken(link, due, bytes),
            Input::Delivered { link, dues } => self.on_delivered(now, link, &dues),
            Input::Unread { question, why } => self.on_unread(now, *question, &why),
            Input::SendFailed { link, due, trouble } => self.on_send_failed(link, due, trouble),
            Input::Verified { due, bad, lengths } => self.on_verified(now, due, &bad, &lengths),
            Input::Ordered { id, caller, order } => self.on_ordered(now, id, &caller, order),
            Input::SentOnWire { peer, bytes } => self.on_sent_on_wire(now, &peer, bytes),
            Input::Panicked(panics) => self.on_panicked(now, panics),
            Input::Unspooled(gone) => self.batch.extend(gone.into_iter().map(Change::Unspooled)),
            Input::Drain => self.on_drain(now),
            Input::Wake => self.on_wake(now),
        }
    }
}
