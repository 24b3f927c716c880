// SPDX-License-Identifier: Apache-2.0
//
// Speaks to an agent with npm's node-serf: client.js HOST PORT. Prints one line of JSON for each step.
'use strict'
const Serf = require('node-serf')

const [host, port] = process.argv.slice(2)
const say = (step, value) => console.log(JSON.stringify({ step, value }))
const fail = (error) => { say('error', String(error)); process.exit(1) }
const ask = (client, command, body) => new Promise((resolve, reject) => {
  const done = (error, result) => error ? reject(error) : resolve(result)
  body === undefined ? client[command](done) : client[command](body, done)
})
const names = (members) => members.map((member) => member.Name).sort()

async function run (client) {
  const members = (await ask(client, 'members')).Members
  say('members', members.map((member) => [member.Name, [...member.Addr].slice(-4).join('.'),
    member.Port, member.Status, member.Tags]))
  say('filtered', names((await ask(client, 'members-filtered', { Name: 'b.*', Tags: {} })).Members))
  say('stats', (await ask(client, 'stats')).agent.name)
  say('coordinate', (await ask(client, 'get-coordinate', { Node: 'alpha' })).Ok)
  await ask(client, 'tags', { Tags: { rack: '7' }, DeleteTags: [] })

  // A stream that answers the query which it sees, and ends when it is told to.
  const stream = client.stream({ Type: 'user:deploy,query:load' })
  await new Promise((resolve) => stream.once('listen', resolve))
  const seen = []
  const both = new Promise((resolve) => stream.on('data', (record) => {
    seen.push([record.Event, record.Name, String(record.Payload)])
    if (record.Event === 'query') client.respond({ ID: record.ID, Payload: 'from node' }, () => {})
    if (seen.length === 2) resolve()
  }))
  await ask(client, 'event', { Name: 'deploy', Payload: 'v1', Coalesce: false })
  while (seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  const answers = []
  const query = client.query({ Name: 'load', Payload: 'now', RequestAck: true, Timeout: 5e9 })
  await new Promise((resolve, reject) => {
    query.on('error', reject)
    query.on('data', (answer) => {
      if (answer.Type === 'done') return resolve()
      answers.push([answer.Type, answer.From, String(answer.Payload || '')])
    })
  })
  await both
  say('seen', seen)
  say('answers', answers.sort())
  await new Promise((resolve) => stream.stop(resolve))
  await ask(client, 'event', { Name: 'deploy', Payload: 'v2', Coalesce: false })
  say('after stop', seen.length)
  try {
    await ask(client, 'install-key', { Key: 'nonsense' })
  } catch (error) {
    say('refused', error.message)
  }
  client.end()
}

const client = Serf.connect({ host, port: Number(port) }, (error) => {
  if (error) return fail(error)
  run(client).catch(fail)
})
