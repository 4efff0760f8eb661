//! The actions, and the parameters of each (H-AWS-2).

/// An action of an AWS service: `integrationSubtype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the subtype of its name")]
pub enum Action {
    EventBridgePutEvents,
    SqsSendMessage,
    SqsReceiveMessage,
    SqsDeleteMessage,
    SqsPurgeQueue,
    AppConfigGetConfiguration,
    KinesisPutRecord,
    StepFunctionsStartExecution,
    StepFunctionsStartSyncExecution,
    StepFunctionsStopExecution,
}

/// One parameter of an action.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    /// As in `requestParameters`.
    pub(super) name: &'static str,
    /// What the service calls it.
    pub(super) wire: &'static str,
    pub(super) form: Form,
    pub(super) required: bool,
}

/// How a parameter travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    /// Seconds since 1970, or a time of RFC 3339.
    Time,
    /// A JSON array of text, or text with commas.
    List,
    /// A JSON object of message attributes.
    Attributes,
    /// Encoded on the way (H-AWS-6).
    Base64,
}

/// How the service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// JSON in the body, the action in `X-Amz-Target`.
    Json { version: u8, target: &'static str },
    /// A form in the body; answers are XML, as API Gateway passes them on.
    Query { action: &'static str },
    /// Parameters in path and query.
    AppConfig,
}

const fn required(name: &'static str, wire: &'static str, form: Form) -> Parameter {
    Parameter { name, wire, form, required: true }
}

const fn optional(name: &'static str, wire: &'static str, form: Form) -> Parameter {
    Parameter { name, wire, form, required: false }
}

impl Action {
    /// All there are (H-AWS-3).
    pub const ALL: [Self; 10] = [
        Self::EventBridgePutEvents,
        Self::SqsSendMessage,
        Self::SqsReceiveMessage,
        Self::SqsDeleteMessage,
        Self::SqsPurgeQueue,
        Self::AppConfigGetConfiguration,
        Self::KinesisPutRecord,
        Self::StepFunctionsStartExecution,
        Self::StepFunctionsStartSyncExecution,
        Self::StepFunctionsStopExecution,
    ];

    /// The action of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    /// As in `integrationSubtype`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::EventBridgePutEvents => "EventBridge-PutEvents",
            Self::SqsSendMessage => "SQS-SendMessage",
            Self::SqsReceiveMessage => "SQS-ReceiveMessage",
            Self::SqsDeleteMessage => "SQS-DeleteMessage",
            Self::SqsPurgeQueue => "SQS-PurgeQueue",
            Self::AppConfigGetConfiguration => "AppConfig-GetConfiguration",
            Self::KinesisPutRecord => "Kinesis-PutRecord",
            Self::StepFunctionsStartExecution => "StepFunctions-StartExecution",
            Self::StepFunctionsStartSyncExecution => "StepFunctions-StartSyncExecution",
            Self::StepFunctionsStopExecution => "StepFunctions-StopExecution",
        }
    }

    /// The service's name in signatures.
    pub const fn service(self) -> &'static str {
        match self {
            Self::EventBridgePutEvents => "events",
            Self::SqsSendMessage | Self::SqsReceiveMessage | Self::SqsDeleteMessage | Self::SqsPurgeQueue => "sqs",
            Self::AppConfigGetConfiguration => "appconfig",
            Self::KinesisPutRecord => "kinesis",
            Self::StepFunctionsStartExecution
            | Self::StepFunctionsStartSyncExecution
            | Self::StepFunctionsStopExecution => "states",
        }
    }

    /// What the service's host begins with.
    pub const fn host_prefix(self) -> &'static str {
        match self {
            Self::StepFunctionsStartSyncExecution => "sync-states",
            other => other.service(),
        }
    }

    pub(super) const fn protocol(self) -> Protocol {
        match self {
            Self::EventBridgePutEvents => Protocol::Json { version: 1, target: "AWSEvents.PutEvents" },
            Self::SqsSendMessage => Protocol::Query { action: "SendMessage" },
            Self::SqsReceiveMessage => Protocol::Query { action: "ReceiveMessage" },
            Self::SqsDeleteMessage => Protocol::Query { action: "DeleteMessage" },
            Self::SqsPurgeQueue => Protocol::Query { action: "PurgeQueue" },
            Self::AppConfigGetConfiguration => Protocol::AppConfig,
            Self::KinesisPutRecord => Protocol::Json { version: 1, target: "Kinesis_20131202.PutRecord" },
            Self::StepFunctionsStartExecution => {
                Protocol::Json { version: 0, target: "AWSStepFunctions.StartExecution" }
            }
            Self::StepFunctionsStartSyncExecution => {
                Protocol::Json { version: 0, target: "AWSStepFunctions.StartSyncExecution" }
            }
            Self::StepFunctionsStopExecution => Protocol::Json { version: 0, target: "AWSStepFunctions.StopExecution" },
        }
    }

    /// All but `Region`, which every action has.
    pub(super) const fn parameters(self) -> &'static [Parameter] {
        use Form::{Attributes, Base64, List, Text, Time};
        match self {
            Self::EventBridgePutEvents => {
                &const {
                    [
                        required("Detail", "Detail", Text),
                        required("DetailType", "DetailType", Text),
                        required("Source", "Source", Text),
                        optional("Time", "Time", Time),
                        optional("EventBusName", "EventBusName", Text),
                        optional("Resources", "Resources", List),
                        optional("TraceHeader", "TraceHeader", Text),
                    ]
                }
            }
            Self::SqsSendMessage => {
                &const {
                    [
                        required("QueueUrl", "QueueUrl", Text),
                        required("MessageBody", "MessageBody", Text),
                        optional("DelaySeconds", "DelaySeconds", Text),
                        optional("MessageAttributes", "MessageAttribute", Attributes),
                        optional("MessageDeduplicationId", "MessageDeduplicationId", Text),
                        optional("MessageGroupId", "MessageGroupId", Text),
                        optional("MessageSystemAttributes", "MessageSystemAttribute", Attributes),
                    ]
                }
            }
            Self::SqsReceiveMessage => {
                &const {
                    [
                        required("QueueUrl", "QueueUrl", Text),
                        optional("AttributeNames", "AttributeName", List),
                        optional("MaxNumberOfMessages", "MaxNumberOfMessages", Text),
                        optional("MessageAttributeNames", "MessageAttributeName", List),
                        optional("ReceiveRequestAttemptId", "ReceiveRequestAttemptId", Text),
                        optional("VisibilityTimeout", "VisibilityTimeout", Text),
                        optional("WaitTimeSeconds", "WaitTimeSeconds", Text),
                    ]
                }
            }
            Self::SqsDeleteMessage => {
                &const { [required("ReceiptHandle", "ReceiptHandle", Text), required("QueueUrl", "QueueUrl", Text)] }
            }
            Self::SqsPurgeQueue => &const { [required("QueueUrl", "QueueUrl", Text)] },
            Self::AppConfigGetConfiguration => {
                &const {
                    [
                        required("Application", "Application", Text),
                        required("Environment", "Environment", Text),
                        required("Configuration", "Configuration", Text),
                        required("ClientId", "client_id", Text),
                        optional("ClientConfigurationVersion", "client_configuration_version", Text),
                    ]
                }
            }
            Self::KinesisPutRecord => {
                &const {
                    [
                        required("StreamName", "StreamName", Text),
                        required("Data", "Data", Base64),
                        required("PartitionKey", "PartitionKey", Text),
                        optional("SequenceNumberForOrdering", "SequenceNumberForOrdering", Text),
                        optional("ExplicitHashKey", "ExplicitHashKey", Text),
                    ]
                }
            }
            Self::StepFunctionsStartExecution => {
                &const {
                    [
                        required("StateMachineArn", "stateMachineArn", Text),
                        optional("Name", "name", Text),
                        optional("Input", "input", Text),
                    ]
                }
            }
            Self::StepFunctionsStartSyncExecution => {
                &const {
                    [
                        required("StateMachineArn", "stateMachineArn", Text),
                        optional("Name", "name", Text),
                        optional("Input", "input", Text),
                        optional("TraceHeader", "traceHeader", Text),
                    ]
                }
            }
            Self::StepFunctionsStopExecution => {
                &const {
                    [
                        required("ExecutionArn", "executionArn", Text),
                        optional("Cause", "cause", Text),
                        optional("Error", "error", Text),
                    ]
                }
            }
        }
    }
}
