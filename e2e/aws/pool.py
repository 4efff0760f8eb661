"""Makes a Cognito user pool with a client and a user in two groups, logs the user in, and prints what came of it as JSON.

usage: pool.py ENDPOINT
"""

import json
import sys

import boto3

cognito = boto3.client(
    "cognito-idp",
    endpoint_url=sys.argv[1],
    region_name="us-east-1",
    aws_access_key_id="test",
    aws_secret_access_key="test",
)
pool = cognito.create_user_pool(PoolName="readers")["UserPool"]["Id"]
client = cognito.create_user_pool_client(
    UserPoolId=pool, ClientName="shop", ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"]
)["UserPoolClient"]["ClientId"]
cognito.admin_create_user(UserPoolId=pool, Username="ada", TemporaryPassword="Temporary-1")
cognito.admin_set_user_password(UserPoolId=pool, Username="ada", Password="Permanent-1", Permanent=True)
for group in ["readers", "writers"]:
    cognito.create_group(UserPoolId=pool, GroupName=group)
    cognito.admin_add_user_to_group(UserPoolId=pool, Username="ada", GroupName=group)
tokens = cognito.admin_initiate_auth(
    UserPoolId=pool,
    ClientId=client,
    AuthFlow="ADMIN_USER_PASSWORD_AUTH",
    AuthParameters={"USERNAME": "ada", "PASSWORD": "Permanent-1"},
)["AuthenticationResult"]
print(json.dumps({"pool": pool, "client": client, "access": tokens["AccessToken"], "id": tokens["IdToken"]}))
