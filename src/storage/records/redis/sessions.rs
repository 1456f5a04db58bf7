//! Sessions that are over.

use super::super::StoreError;
use super::RedisRecords;
use super::keys::Shard;
use super::line::Lost;
use super::scripts::{self, Call};
use crate::transfer::session::DeadSession;

impl RedisRecords {
    pub(super) async fn drop_sessions(&self, dead: &[DeadSession]) -> Result<(), StoreError> {
        let shard = Shard::ACCESS;
        let keys = dead.iter().flat_map(|session| {
            let token = shard.token(&hex::encode(session.hash()));
            [shard.tokens(session.account()), token, shard.token_id(session.id())]
        });
        let mut call = Call::new(&scripts::SESSIONS, keys);
        for session in dead {
            call = call.arg(session.id());
        }
        self.write(shard, call, Lost::SendAgain).await
    }
}
