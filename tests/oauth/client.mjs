// openid-client and jose against a platform: node client.mjs <issuer> <client id> <client secret> <refresh token> <PKCS #8, Ed25519>
import assert from 'node:assert/strict'
import { createRemoteJWKSet, importPKCS8, jwtVerify } from 'jose'
import * as client from 'openid-client'

const [issuer, id, secret, refreshToken, pem] = process.argv.slice(2)
const key = await importPKCS8(pem, 'EdDSA', { extractable: true })
const how = { algorithm: 'oauth2', execute: [client.allowInsecureRequests] }
for (const method of [client.ClientSecretBasic(secret), client.ClientSecretPost(secret), client.PrivateKeyJwt(key)]) {
  const config = await client.discovery(new URL(issuer), id, undefined, method, how)
  const granted = await client.clientCredentialsGrant(config, { scope: 'orders:read' })
  assert.equal(granted.scope, 'orders:read')
  const keys = createRemoteJWKSet(new URL(config.serverMetadata().jwks_uri))
  const rules = { issuer, audience: 'stylobate', typ: 'at+jwt', algorithms: ['EdDSA'] }
  const { payload } = await jwtVerify(granted.access_token, keys, rules)
  assert.deepEqual([payload.sub, payload.client_id, payload.scope], [id, id, 'orders:read'])
  assert.equal((await client.tokenIntrospection(config, granted.access_token)).active, true)
  await client.tokenRevocation(config, granted.access_token)
  await assert.rejects(client.clientCredentialsGrant(config, { scope: 'orders:ship' }), { error: 'invalid_scope' })
}
const wrong = await client.discovery(new URL(issuer), id, undefined, client.ClientSecretBasic('wrong'), how)
await assert.rejects(client.clientCredentialsGrant(wrong), { status: 401 })
const open = await client.discovery(new URL(issuer), 'stylobate', undefined, client.None(), how)
const refreshed = await client.refreshTokenGrant(open, refreshToken)
assert.equal(refreshed.token_type, 'bearer')
await client.tokenRevocation(open, refreshed.refresh_token)
await assert.rejects(client.refreshTokenGrant(open, refreshed.refresh_token), { error: 'invalid_grant' })
console.log('ok')
