// The queries of tests/benchmarks/queries.py in TanStack DB: node tanstack.mjs SIZE ROUNDS
//
// Prints one JSON object: the median microseconds of one update of a player, delivered to one subscriber, by query.
import {
  BTreeIndex,
  createCollection,
  createLiveQueryCollection,
  eq,
  localOnlyCollectionOptions,
  sum,
} from '@tanstack/db'

const [size, rounds] = process.argv.slice(2).map(Number)
const TEAMS = 50
let score = 1_000_003

const name = (n) => `player/${String(n).padStart(8, '0')}`
const team = (n) => `team/${String(n % TEAMS).padStart(3, '0')}`

function filled() {
  const player = (_, n) => ({
    id: name(n),
    score: (n * 7919) % 1_000_003,
    team: team(n),
    active: n % 3 !== 0,
  })
  const options = { getKey: (one) => one.id, autoIndex: 'eager', defaultIndexType: BTreeIndex }
  const players = createCollection(
    localOnlyCollectionOptions({ id: 'players', initialData: Array.from({ length: size }, player), ...options }),
  )
  const teams = createCollection(
    localOnlyCollectionOptions({
      id: 'teams',
      initialData: Array.from({ length: TEAMS }, (_, n) => ({ id: team(n), name: `team ${n}` })),
      ...options,
    }),
  )
  return { players, teams }
}

const QUERIES = {
  'a put that nothing observes': null,
  'filter, join, group, top-10': ({ players, teams }) => (q) =>
    q
      .from({ player: players })
      .innerJoin({ team: teams }, ({ player, team }) => eq(player.team, team.id))
      .where(({ player }) => eq(player.active, true))
      .groupBy(({ team }) => team.name)
      .select(({ team, player }) => ({ name: team.name, total: sum(player.score) }))
      .orderBy(({ $selected }) => $selected.total, 'desc')
      .limit(10),
  'top-10 of all players': ({ players }) => (q) =>
    q.from({ player: players }).orderBy(({ player }) => player.score, 'desc').limit(10),
}

const microseconds = {}
for (const [query, make] of Object.entries(QUERIES)) {
  const collections = filled()
  const { players, teams } = collections
  await Promise.all([players.preload(), teams.preload()])
  let seen = 0
  let live = null
  if (make) {
    live = createLiveQueryCollection({ query: make(collections), startSync: true })
    await live.preload()
    live.subscribeChanges(() => (seen += 1))
  }
  const costs = []
  for (let number = 0; number < rounds; number += 1) {
    const began = performance.now()
    score += 1
    players.update(name((number * 7919) % size), (draft) => {
      draft.score = score
    })
    costs.push((performance.now() - began) * 1000)
    if (number % 50 === 49) await new Promise((done) => setTimeout(done, 20))
  }
  if (make && seen < rounds / 20) throw new Error(`${query}: ${seen} emissions of ${rounds} updates`)
  costs.sort((a, b) => a - b)
  microseconds[query] = costs[costs.length >> 1]
  if (live) await live.cleanup()
}
console.log(JSON.stringify(microseconds))
