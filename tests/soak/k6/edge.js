// Load on the edge as k6 makes it (https://k6.io): people who register, place orders and look at them, at a rate that does not wait for answers.
//
//   k6 run -e BASE=http://127.0.0.1:8080 -e RATE=200 -e DURATION=2m tests/soak/k6/edge.js
//
// What holds: an answer is a success, or a problem that says why and when to come again; the slowest hundredth of what passed takes
// less than two seconds; a key that is sent twice places one order. What is refused (429, 503 OVERLOADED) is counted, not held against it.
import http from 'k6/http'
import { check } from 'k6'
import exec from 'k6/execution'
import { Counter, Trend } from 'k6/metrics'

const BASE = __ENV.BASE || 'http://127.0.0.1:8080'
const RATE = Number(__ENV.RATE || 100)
const DURATION = __ENV.DURATION || '1m'
const PEOPLE = Number(__ENV.PEOPLE || 20)
const JSON_BODY = { 'Content-Type': 'application/json' }
const ORDER = JSON.stringify({ items: [{ sku: 'tea', quantity: 1 }] })

const passed = new Trend('passed_duration', true)
const refused = new Counter('refused')
const broken = new Counter('broken')

http.setResponseCallback(http.expectedStatuses({ min: 200, max: 299 }, 429, 503))

export const options = {
  scenarios: {
    people: {
      executor: 'ramping-arrival-rate',
      startRate: Math.ceil(RATE / 4),
      timeUnit: '1s',
      preAllocatedVUs: 100,
      maxVUs: 1000,
      stages: [
        { target: RATE, duration: '15s' },
        { target: RATE, duration: DURATION },
      ],
    },
  },
  thresholds: {
    broken: ['count==0'],
    checks: ['rate==1'],
    passed_duration: ['p(99)<2000'],
  },
}

export function setup() {
  const run = Date.now()
  const tokens = Array.from({ length: PEOPLE }, (_, number) => {
    const account = JSON.stringify({ email: `k6-${run}-${number}@example.com`, password: 'a long enough password' })
    const made = http.post(`${BASE}/v1/auth/register`, account, { headers: JSON_BODY })
    const session = http.post(`${BASE}/v1/auth/login`, account, { headers: JSON_BODY })
    if (made.status !== 201 || session.status !== 200) {
      exec.test.abort(`nobody could log in: ${made.status} ${made.body} ${session.status} ${session.body}`)
    }
    return session.json('access_token')
  })
  return { run, tokens }
}

export default function ({ run, tokens }) {
  const number = exec.scenario.iterationInTest
  const headers = { ...JSON_BODY, Authorization: `Bearer ${tokens[number % tokens.length]}` }
  if (number % 10 !== 0) {
    told(http.get(`${BASE}/v1/state/orders?page_size=10`, { headers, tags: { name: 'list' } }))
    return
  }
  const key = `${run}-${number}`
  const keyed = { headers: { ...headers, 'Idempotency-Key': key }, tags: { name: 'order' } }
  const first = told(http.post(`${BASE}/v1/actions/shop.place_order`, ORDER, keyed))
  const again = told(http.post(`${BASE}/v1/actions/shop.place_order`, ORDER, keyed))
  if (first.status === 200 && again.status === 200) {
    check(again, {
      'a key places one order': (answer) => answer.json('id') === first.json('id'),
      'the second answer is the first': (answer) => answer.headers['Idempotency-Replayed'] === 'true',
    })
  }
}

function told(answer) {
  if (answer.status >= 200 && answer.status < 300) {
    passed.add(answer.timings.duration)
  } else if (answer.status === 429 || answer.status === 503) {
    refused.add(1)
    check(answer, {
      'a refusal is a problem': (one) => (one.headers['Content-Type'] || '').startsWith('application/problem+json'),
      'a refusal says when to come again': (one) => Number(one.headers['Retry-After']) >= 1,
    })
  } else {
    broken.add(1) // no answer at all, or one that nobody should get
  }
  return answer
}
