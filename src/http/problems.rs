//! Every problem that burnbag answers with: one table for statuses, titles and the pages behind their `type`.

/// One kind of problem (RFC 9457 §3.1): what never differs between two answers with the same code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProblemKind {
    /// The stable code, the last segment of the problem's `type`.
    pub code: &'static str,
    /// The HTTP status that it is sent with.
    pub status: u16,
    /// What happened, in one short sentence without a full stop.
    pub title: &'static str,
    /// What to do about it, in plain text.
    pub help: &'static str,
}

/// The kind with this code, if there is one.
#[must_use]
pub fn kind(code: &str) -> Option<&'static ProblemKind> {
    PROBLEMS.iter().find(|kind| kind.code == code)
}

const fn entry(code: &'static str, status: u16, title: &'static str, help: &'static str) -> ProblemKind {
    ProblemKind { code, status, title, help }
}

/// All kinds, each code once.
#[rustfmt::skip] // One block a kind, with the help text on a line of its own.
pub const PROBLEMS: &[ProblemKind] = &[
    // The request.
    entry("request_malformed", 400, "The request cannot be read",
        "Something in the request is not as HTTP or this service asks for it. The detail of the answer says what. Correct it and send the request again."),
    entry("content_range_unsupported", 400, "A part of a file cannot be sent this way",
        "A PUT takes the whole file. Leave Content-Range out, or send the file with a resumable upload."),
    entry("secret_in_query", 400, "A secret does not belong in an address",
        "Addresses end up in logs and histories. Send a password as the header Burnbag-Password or as a form field, and count the secret that you sent as known to others."),
    entry("cursor_invalid", 400, "The cursor is not one of ours",
        "Start the list again without a cursor, and pass on the value of next as it is."),
    // Who is asking.
    entry("token_required", 401, "A token is needed",
        "Send your token, for example with curl -u \":$TOKEN\". Whoever runs this service gives you one."),
    entry("token_invalid", 401, "The token is not valid",
        "It is unknown, expired or revoked, or it was cut when it was copied. Check it, or ask for a new one."),
    entry("link_secret_required", 401, "The link's secret is missing",
        "Open the whole link, with its part after the #. With curl: curl --fail-with-body -u \"x:${link#*#}\" -o 'file' \"${link%%#*}\""),
    entry("password_required", 401, "This link has a password",
        "Ask the sender for the password. With curl it follows the secret after a colon: -u 'x:<secret>:<password>'."),
    entry("password_wrong", 401, "The password is wrong",
        "Check it and try again. After too many attempts you have to wait."),
    entry("capability_missing", 403, "Your token may not do this",
        "Use a token whose role allows it, or ask an administrator of your team."),
    entry("cross_site", 403, "The request came from another site",
        "A browser sent it from a page that is not ours, so it was not carried out. Open the page of this service and try again there."),
    entry("transfer_held", 403, "The files are not released yet",
        "They wait for a check or an approval. Try again later, or ask the sender."),
    entry("link_not_found", 404, "This link does not open anything",
        "It is unknown, used up, expired or taken back. Ask the sender for a new one."),
    entry("not_found", 404, "There is nothing here",
        "Check the address. What was here may have ended, or it may belong to another team."),
    // The method, the form, the body.
    entry("method_not_allowed", 405, "This cannot be done here",
        "The address exists, but not for this method. The header Allow of the answer names those that work."),
    entry("body_timeout", 408, "The body came too slowly",
        "The connection was idle or too slow for too long. Send the file again over a better connection, or with a resumable upload."),
    entry("precondition_failed", 412, "It has changed in between",
        "What you have seen is not the newest state. Read it again, then decide again."),
    entry("tus_version", 412, "The tus version is not supported",
        "Send the header Tus-Resumable: 1.0.0."),
    entry("media_type_unsupported", 415, "This kind of body is not taken here",
        "Check the header Content-Type. A form with files is multipart/form-data."),
    entry("range_unsatisfiable", 416, "The file has no such part",
        "The range lies past the end. The header Content-Range of the answer has the file's size. If you resume a download, you may have it whole already."),
    entry("checksum_mismatch", 460, "The bytes were damaged on the way",
        "What arrived has another checksum than you sent, so it was dropped. Send the same part again."),
    // The state of a transfer.
    entry("name_taken", 409, "A file of this name is there already",
        "Give the file another name, or delete the first one while the transfer is still open."),
    entry("transfer_sealed", 409, "The transfer takes no more files",
        "Files can be added only until it is complete. Make a new transfer for them."),
    entry("transfer_ended", 409, "The transfer has ended",
        "Its keys are destroyed and nothing brings the files back. Send them again as a new transfer."),
    entry("upload_incomplete", 409, "An upload is still running",
        "Wait until every file is whole, or delete the unfinished ones. Then complete the transfer again."),
    entry("upload_locked", 409, "Another request is writing this file",
        "Wait until it ends, ask for the offset, and go on from there."),
    entry("offset_mismatch", 409, "The upload goes on elsewhere",
        "Ask for the offset with HEAD and send the bytes from there."),
    entry("idempotency_in_progress", 409, "The same request is still being worked on",
        "Wait a moment and send it again with the same key to get its answer."),
    entry("conflict", 409, "Somebody else was faster",
        "It changed while your request was carried out. Read it again and try again."),
    // Limits and options.
    entry("file_too_large", 413, "The file is too large",
        "It is larger than this service takes. Split it, or ask the operator for a higher limit."),
    entry("quota_exceeded", 413, "Your team has no room left",
        "Delete transfers that are not needed any more, or wait until some reach their deadline."),
    entry("option_unknown", 422, "There is no such option",
        "Check its spelling. An option that is not understood is refused, so that no link is less guarded than you think."),
    entry("option_invalid", 422, "An option has a wrong value",
        "The detail of the answer names the option and what it takes, such as 2h for expires or 1 for downloads."),
    entry("option_conflict", 422, "An option was given twice",
        "The same option came with two different values. Send one of them."),
    entry("expires_too_long", 422, "That is longer than files may stay",
        "Choose an earlier deadline. The detail of the answer names the longest time."),
    entry("name_invalid", 422, "The file's name cannot be used",
        "A name is UTF-8 without control characters and backslashes, has no empty, . or .. part, and has at most 255 bytes between slashes and 1024 in all."),
    entry("file_missing", 422, "There is no file in the form",
        "Choose a file and send the form again. With curl: -F 'file=@report.pdf'"),
    entry("too_many_files", 422, "Too many files for one transfer",
        "Pack them into one archive, or send them as several transfers."),
    entry("idempotency_mismatch", 422, "The key was used for another request",
        "Use a new idempotency key for every new request, and the same key only to repeat one."),
    entry("rate_limited", 429, "Too many requests",
        "Wait as long as the header Retry-After says, then go on more slowly."),
    entry("too_many_attempts", 429, "Too many failed attempts",
        "Wait as long as the header Retry-After says before you try a password or a token again."),
    // The service.
    entry("internal", 500, "Something went wrong on our side",
        "It was not your request. Try again later. If it stays, give the operator the trace id of the answer."),
    entry("link_busy", 503, "All downloads of this link are taken",
        "Others are downloading right now. If one of them breaks off, its place is free again, so try again in a while."),
    entry("buffers_busy", 503, "Too many uploads at once",
        "There is no room for one more right now. Wait as long as the header Retry-After says, then send the file again."),
    entry("password_busy", 503, "Too many passwords are being checked",
        "Wait as long as the header Retry-After says, then try again."),
    entry("audit_unavailable", 503, "The audit log cannot be written",
        "What cannot be recorded is not done. Try again later. The operator is told by the readiness check."),
    entry("store_unavailable", 503, "The storage does not answer",
        "Nothing is lost. Try again later. The operator is told by the readiness check."),
    entry("draining", 503, "The service is stopping",
        "It takes no new work. Try again in a moment, when it is back."),
    entry("storage_full", 507, "The storage is full",
        "Nothing was kept. Try again later. The operator has to make room."),
];
