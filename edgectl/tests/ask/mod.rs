//! One command against a daemon that expects one request.

use edged_rpc::{Request, Response};

use crate::fake::Fake;
use crate::sample::{Said, edgectl_at};

/// Runs `args` against a daemon that expects `request` and answers `response`.
pub(crate) fn ask(args: &[&str], request: Request, response: Response) -> Said {
    let fake = Fake::run(move |daemon| {
        assert_eq!(daemon.hear(), request);
        daemon.say(&response);
    });
    let said = edgectl_at(&fake.socket, args, b"");
    fake.finish();
    said
}
