//! What is looked at once, before the service starts.

use aws_sdk_s3::error::ProvideErrorMetadata as _;
use serde_json::Value;

use super::{BlobError, Shared, store_id};

/// The bucket answers, and it is not anybody's. What could not be seen is told.
pub(super) async fn check(shared: &Shared) -> Result<Vec<String>, BlobError> {
    let mut unseen = Vec::new();
    store_id::get(shared).await?;
    let list = shared.quick.list_objects_v2().bucket(&shared.bucket).max_keys(1).send().await;
    list.map_err(|error| shared.place.failed("ListBucket", &error))?;
    versioning(shared, &mut unseen).await;
    policy(shared, &mut unseen).await?;
    anybody(shared).await?;
    Ok(unseen)
}

async fn versioning(shared: &Shared, unseen: &mut Vec<String>) {
    match shared.quick.get_bucket_versioning().bucket(&shared.bucket).send().await {
        Ok(versioning) => shared.set_versioned(versioning.status.as_ref()),
        Err(error) => unseen.push(format!(
            "whether the bucket keeps versions is not known before its first deletion: {}",
            shared.place.failed("GetBucketVersioning", &error)
        )),
    }
}

/// The policy as text, and what the server makes of it: Amazon's sees more than we do, MinIO's less.
async fn policy(shared: &Shared, unseen: &mut Vec<String>) -> Result<(), BlobError> {
    match shared.quick.get_bucket_policy().bucket(&shared.bucket).send().await {
        Ok(policy) => {
            if policy.policy.is_some_and(|text| lets_anybody_in(&text)) {
                return Err(shared.place.public("its policy names everybody"));
            }
        }
        Err(error) if error.code() == Some("NoSuchBucketPolicy") => return Ok(()),
        Err(error) => unseen.push(format!(
            "the bucket's policy was not read, only tried from outside: {}",
            shared.place.failed("GetBucketPolicy", &error)
        )),
    }
    let status = shared.quick.get_bucket_policy_status().bucket(&shared.bucket).send().await;
    match status.map(|status| status.policy_status.and_then(|status| status.is_public)) {
        Ok(Some(true)) => Err(shared.place.public("so the server says")),
        _ => Ok(()),
    }
}

/// Asks without a signature.
async fn anybody(shared: &Shared) -> Result<(), BlobError> {
    let (client, bucket) = (&shared.anonymous, &shared.bucket);
    if client.list_objects_v2().bucket(bucket).max_keys(1).send().await.is_ok() {
        return Err(shared.place.public("it lists without a key"));
    }
    if client.head_object().bucket(bucket).key(store_id::KEY).send().await.is_ok() {
        return Err(shared.place.public("it can be read without a key"));
    }
    Ok(())
}

/// Whether a statement allows something to everybody without a condition.
fn lets_anybody_in(policy: &str) -> bool {
    let Ok(policy) = serde_json::from_str::<Value>(policy) else { return false };
    let statements = match &policy["Statement"] {
        Value::Array(statements) => statements.clone(),
        one => vec![one.clone()],
    };
    statements.iter().any(|statement| {
        let everybody = is_everybody(&statement["Principal"]) || is_everybody(&statement["Principal"]["AWS"]);
        statement["Effect"] == "Allow" && everybody && statement["Condition"].is_null()
    })
}

fn is_everybody(principal: &Value) -> bool {
    match principal {
        Value::String(one) => one == "*",
        Value::Array(many) => many.iter().any(is_everybody),
        _ => false,
    }
}
