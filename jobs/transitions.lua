-- Every transition of a job's record. One call runs one of them, and is atomic.
--
--   ARGV: transition, "pool limit grace lease backlog_limit queue=weight …", then its own arguments
--   reply: { tag, deliveries, jobs, pool }, as `reply` at the end builds it; jobs/records.py reads it
--
-- Times are microseconds since the epoch by the clock below; leases and due times are fields and scores,
-- never TTLs. Numbers are doubles, which hold whole numbers up to 2^53; `int` writes them without loss
-- (Redis itself would write a number with 14 digits).
--
-- A job is in exactly one of credits:{pool} (score: due), backlog:{queue} (score: seq) and
-- delayed:{queue} (score: wake time) until it ends. It is in exactly one index:{queue}:{status} as long as
-- it can be found. A hash is read once, changed as a Lua table, and written once, at the end. Redis out of
-- memory or read-only refuses the first write of a script, and so all of it.

-- CLOCK (jobs/scripts.py puts another one here for a simulation)
local function clock()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end
-- END CLOCK

local SECOND = 1000000
local UNPUBLISHED = 10 * SECOND -- until an event that nobody said to have published is published again
local UNCOMPLETED = 30 * SECOND -- until a recorded result is completed without its event
local OUTBOX_AGE = 10 * SECOND -- until the tick publishes what its maker should have
local STRIKES, PAUSES, REISSUES = 3, 3, 6 -- the third strike or refusal fails; after six it is requeued
local EXCUSES = 6 -- attempts in a row that an outage of the object store may cost without a strike
local POOL_PAUSE, POOL_PAUSE_MAX = 10 * SECOND, 300 * SECOND -- doubled with each pause in a row
local JOB_PAUSE = 30 * SECOND -- times four with each refusal
local MILESTONES, ATTEMPTS = 64, 32 -- of a job, the newest
local SWEEP_STEP = 50 * SECOND -- for a part of the sweep, which is asked for each minute
local BATCH = 1000 -- of what one tick mends
local REASON = 200 -- characters of one reason
local SLOT = 80 -- characters of a slot's name in the history
local SMOOTHING = 0.2 -- weight of the newest job in the measured seconds
local ARTIFACT = { 's3_url', 'etag', 'bytes', 'key', 'poster_key' }

local POOL, LIMIT, GRACE, LEASE, BACKLOG = string.match(ARGV[2], '^(%S+) (%d+) (%d+) (%d+) (%d+) ')
LIMIT, GRACE, LEASE, BACKLOG = tonumber(LIMIT), tonumber(GRACE), tonumber(LEASE), tonumber(BACKLOG)
local CREDITS, DEADLINES, OUTBOX = 'credits:' .. POOL, 'deadlines:' .. POOL, 'outbox:' .. POOL
local ENDED, EXPIRED = 'ended:' .. POOL, 'expired:' .. POOL
local A = { unpack(ARGV, 3) } -- the transition's own arguments
local NOW = clock()

local function int(number) return string.format('%.0f', number) end

-- A field as a number; 0 where it is absent or no number (a damaged record stops nothing).
local function num(text) return tonumber(text or 0) or 0 end

local function given(text) if text and text ~= '' then return text end end

-- Hashes: read once, written once ------------------------------------------------------------------------

local hashes, order, before = {}, {}, {}

local function open(key)
  if not hashes[key] then
    local hash, old = {}, {}
    local flat = redis.pcall('HGETALL', key) -- what is no hash counts as empty: it stops no other job
    for i = 1, #flat, 2 do hash[flat[i]], old[flat[i]] = flat[i + 1], flat[i + 1] end
    hashes[key], before[key] = hash, old
    order[#order + 1] = key
  end
  return hashes[key]
end

local function write_all()
  for _, key in ipairs(order) do
    local hash, old, set, gone = hashes[key], before[key], {}, {}
    for name, value in pairs(hash) do
      if value ~= old[name] then
        set[#set + 1] = name
        set[#set + 1] = value
      end
    end
    for name in pairs(old) do
      if hash[name] == nil then gone[#gone + 1] = name end
    end
    if #set > 0 then redis.call('HSET', key, unpack(set)) end
    if #gone > 0 then redis.call('HDEL', key, unpack(gone)) end
    if hash.version ~= old.version then redis.call('PUBLISH', key, hash.version) end
  end
end

local ids = {} -- job → id

-- The job, or nil where it never was, has expired, or cannot be told from its record.
local function load(id)
  local job = open('job:' .. id)
  if not (job.status and job.queue and tonumber(job.seq)) or job.expired then return nil end
  ids[job] = id
  return job
end

local function terminal(job)
  return job.status == 'completed' or job.status == 'failed' or job.status == 'cancelled'
end

-- What a watcher sees ------------------------------------------------------------------------------------

-- A version is a time: it is new even after Redis lost its last second.
local function show(job)
  job.version = int(math.max(num(job.version) + 1, NOW))
end

-- Words, the oldest first, and one more of them.
local function appended(words, word, limit)
  local kept = words and words .. ' ' or ''
  local _, count = string.gsub(kept, ' ', '')
  if count >= limit then kept = string.gsub(kept, '^%S+ ', '', 1) end
  return kept .. word
end

-- A milestone: the job's phase, or its status once it has ended.
local function milestone(job)
  show(job)
  local word = job.version .. ':' .. (job.phase or job.status) .. ':' .. (job.attempt or '0')
  job.milestones = appended(job.milestones, word, MILESTONES)
end

local function set_status(job, status)
  if job.status == status then return end
  local index = 'index:' .. job.queue .. ':'
  if job.status then redis.call('ZREM', index .. job.status, ids[job]) end
  redis.call('ZADD', index .. status, job.seq, ids[job])
  job.status = status
end

-- Events to publish --------------------------------------------------------------------------------------

local deliveries = {}

local function new_delivery(job)
  job.delivery = int(math.max(num(job.delivery) + 1, NOW))
end

local function deliver(job, kind)
  local event = { kind, ids[job], job.queue or '', num(job.delivery), num(job.attempt), job.traceparent or '' }
  if kind ~= 'requested' and kind ~= 'continued' then
    event[7], event[8], event[9] = job.result_token or '', job.error_code or '', job.error or ''
    for i, name in ipairs(ARTIFACT) do event[9 + i] = job[name] or '' end
  end
  deliveries[#deliveries + 1] = event
end

-- The pool and its queues --------------------------------------------------------------------------------

local function pool() return open('pool:' .. POOL) end

local weights, queues -- by queue; in the order of the settings, then those that were configured once

local function all_queues()
  if not queues then
    weights, queues = {}, {}
    for queue, weight in string.gmatch(ARGV[2], '(%S+)=(%S+)') do
      queues[#queues + 1], weights[queue] = queue, tonumber(weight)
    end
    local others = {}
    for name in pairs(pool()) do
      local queue = string.match(name, '^time:(.+)$')
      if queue and not weights[queue] then others[#others + 1], weights[queue] = queue, 1 end
    end
    table.sort(others)
    for _, queue in ipairs(others) do queues[#queues + 1] = queue end
  end
  return queues
end

local function weight_of(queue)
  all_queues()
  return weights[queue] or 1
end

local function waiting(queue) return redis.call('ZCARD', 'backlog:' .. queue) end

-- Virtual time: microseconds of GPU time over the queue's weight.
local function charge(queue, amount)
  pool()['time:' .. queue] = int(num(pool()['time:' .. queue]) + amount / weight_of(queue))
end

-- A queue that wakes is raised to the least of the busy ones, or to where the pool was at its last
-- admission: an idle queue saves up no time.
local function wake(queue)
  local least
  for _, other in ipairs(all_queues()) do
    local time = num(pool()['time:' .. other])
    if other ~= queue and waiting(other) > 0 and (not least or time < least) then least = time end
  end
  local own = num(pool()['time:' .. queue])
  pool()['time:' .. queue] = int(math.max(own, least or num(pool().admitted_time)))
end

local function next_queue()
  local best, least
  for _, queue in ipairs(all_queues()) do
    local time = num(pool()['time:' .. queue])
    if waiting(queue) > 0 and (not least or time < least) then best, least = queue, time end
  end
  return best
end

local function enqueue(job)
  if waiting(job.queue) == 0 then wake(job.queue) end
  redis.call('ZADD', 'backlog:' .. job.queue, job.seq, ids[job])
end

local function paused() return num(pool().paused_until) > NOW end

-- What made this happen is likely to hit all that the pool has in flight: a pause is not grown by what
-- arrives during it.
local function pause_pool()
  if paused() then return end
  local row = num(pool().pauses_in_a_row)
  pool().pauses_in_a_row = int(row + 1)
  pool().paused_until = int(NOW + math.min(POOL_PAUSE * 2 ^ row, POOL_PAUSE_MAX))
end

-- Measured GPU seconds of a completed job, exponentially weighted: for the queue and for the pool.
local function measure(job)
  for _, name in ipairs({ 'measured:' .. job.queue, 'measured' }) do
    local old = tonumber(pool()[name] or '')
    local used = num(job.gpu)
    pool()[name] = int(old and old + SMOOTHING * (used - old) or used)
  end
end

-- Leases -------------------------------------------------------------------------------------------------

local function leased(job) return job.token ~= nil and num(job.lease_until) > NOW end

local function late(job) return job.deadline ~= nil and num(job.deadline) <= NOW end

-- FENCE: processing, the token is mine, no result.
local function fenced(id, token)
  local job = load(id)
  if job and job.status == 'processing' and job.token == token and not job.result then return job end
end

-- The attempt is over: count the GPU time of its lease up to now, or to the lease's end if it ran out
-- before, and put it into the history: attempt:start:time:first step:last step:why it ended:slot. The one
-- that is at work is not there: the record has `claimed`, and all else.
local function end_attempt(job, ended)
  if not job.claimed then return end
  local till = NOW
  if job.token and not job.result then till = math.min(NOW, num(job.lease_until)) end
  local used = int(math.max(0, till - num(job.claimed)))
  local slot = string.gsub(string.sub(job.slot or '', 1, SLOT), '%s', '_')
  local word = { job.attempt or '0', job.claimed, used, job.step_at_claim or '0', job.step or '0', ended, slot }
  job.attempts = appended(job.attempts, table.concat(word, ':'), ATTEMPTS)
  job.gpu = int(num(job.gpu) + used)
  job.claimed = nil
end

-- Correct what was charged at admission to what was used.
local function settle(job)
  end_attempt(job, job.result or 'lost')
  charge(job.queue, num(job.gpu) - num(job.charged))
  job.charged = job.gpu
end

local function release(job)
  job.token, job.lease_until, job.slot, job.unkept = nil, nil, nil, nil
end

local function noted(reasons, reason)
  reason = string.sub(reason, 1, REASON)
  return reasons and reasons .. '; ' .. reason or reason
end

local function moved(job) return num(job.checkpoint_step) > num(job.step_at_claim) end

-- The lease of an attempt is over with nothing recorded: a strike, unless its checkpoint moved, or had
-- nowhere to go. An outage ends some day; a job that takes its workers with it does so within a few excuses.
local function strike(job, reason)
  if moved(job) then return end
  if job.unkept and num(job.excuses) < EXCUSES then
    job.excuses = int(num(job.excuses) + 1)
    return
  end
  job.strikes = int(num(job.strikes) + 1)
  job.reasons = noted(job.reasons, 'attempt ' .. (job.attempt or '0') .. ' ' .. reason)
end

local function strike_lost(job)
  end_attempt(job, 'lost')
  local slot = job.slot and ' on ' .. job.slot or ''
  strike(job, 'lost its lease' .. slot .. ' in phase ' .. (job.phase or 'unknown'))
end

-- Ends ---------------------------------------------------------------------------------------------------

local function decide(job, kind, token, code, message)
  job.result, job.result_token, job.error_code, job.error = kind, given(token), given(code), given(message)
  new_delivery(job)
end

-- The end that a job comes to by itself, decided where there is one: cancel, deadline, third strike.
local function decide_own_end(job, token)
  if job.cancel then
    decide(job, 'cancelled', token)
  elseif late(job) then
    decide(job, 'failed', token, 'deadline_exceeded', 'the deadline has passed')
  elseif num(job.strikes) >= STRIKES then
    decide(job, 'failed', token, 'attempts_exhausted',
      STRIKES .. ' attempts ended without progress: ' .. (job.reasons or ''))
  end
  return job.result
end

-- FINAL, but for the PUMP that each transition ends with. `by_event`: its event is what brought the end
-- about, so nobody has to publish it.
local function finish(job, by_event)
  local id = ids[job]
  settle(job)
  release(job)
  redis.call('ZREM', CREDITS, id)
  redis.call('ZREM', 'backlog:' .. job.queue, id)
  redis.call('ZREM', 'delayed:' .. job.queue, id)
  if job.deadline then redis.call('ZREM', DEADLINES, id) end
  set_status(job, job.result)
  job.result, job.phase, job.charged, job.since, job.yielded = nil, nil, nil, nil, nil
  job.step_at_claim, job.reissues, job.excuses = nil, nil, nil
  job.finished = int(NOW)
  milestone(job)
  redis.call('ZADD', ENDED, int(NOW), id)
  if job.status == 'completed' then measure(job) end
  if not by_event then
    redis.call('ZADD', OUTBOX, job.delivery, id)
    deliver(job, job.status)
  end
end

-- Admission ----------------------------------------------------------------------------------------------

local function admit(job)
  redis.call('ZREM', 'backlog:' .. job.queue, ids[job])
  redis.call('ZADD', CREDITS, int(NOW + UNPUBLISHED), ids[job])
  pool().admitted_time = pool()['time:' .. job.queue]
  job.charged = int(num(job.gpu) + num(job.estimate))
  charge(job.queue, num(job.estimate))
  new_delivery(job)
  job.since = job.delivery
  job.phase = 'starting'
  milestone(job)
end

local function pump()
  if paused() then return end
  local held = redis.call('ZCARD', CREDITS)
  while held < LIMIT do
    local queue = next_queue()
    if not queue then return end
    local id = redis.call('ZRANGE', 'backlog:' .. queue, 0, 0)[1]
    local job = load(id)
    if not job or job.status ~= 'pending' then
      redis.call('ZREM', 'backlog:' .. queue, id) -- its record was removed by hand
    elseif decide_own_end(job) then
      finish(job)
    else
      admit(job)
      deliver(job, 'requested')
      held = held + 1
    end
  end
end

-- The credit goes, the job waits again; its seq puts it before all that came later.
local function give_up_credit(job)
  settle(job)
  release(job)
  redis.call('ZREM', CREDITS, ids[job])
  job.reissues, job.yielded, job.step_at_claim, job.since = nil, nil, nil, nil
  job.phase = 'waiting'
  set_status(job, 'pending')
  milestone(job)
end

local function requeue(job)
  give_up_credit(job)
  enqueue(job)
end

-- A lease that ran out: strike, then the job's own end or another turn.
local function mend_lost_lease(job)
  strike_lost(job)
  if decide_own_end(job) then
    finish(job)
    return 'ended'
  end
  requeue(job)
  return 'requeued'
end

local function due_after(job, wait)
  return int(NOW + wait * 2 ^ math.min(num(job.reissues), REISSUES))
end

-- Transitions: each returns a tag, and the ids of the jobs to show -----------------------------------------

local T = {}

local function same_job(id, fingerprint)
  local known, print = string.match(redis.call('GET', 'idempotency:' .. id) or '', '^(%S+) ?(%S*)$')
  if not known or not load(known) then return nil end
  return known, given(print) == nil or given(fingerprint) == nil or print == fingerprint
end

-- The answer to a submission that came before, or whose answer was lost on the way.
local function submitted_before(id, mine)
  local job = load(id)
  if id ~= mine then return 'known', { id } end
  if job.since and not job.token and not job.result and redis.call('ZSCORE', CREDITS, id) then
    deliver(job, 'requested')
  end
  return 'created', { id }
end

function T.submit()
  local id, queue, request, estimate, deadline, trace, key, print, at_once = unpack(A)
  if given(key) then
    local known, same = same_job(key, print)
    if known and not same then return 'conflict', { known } end
    if known then return submitted_before(known, id) end
  end
  if load(id) then return submitted_before(id, id) end
  if given(deadline) and num(deadline) <= NOW then return 'deadline' end
  if at_once == '1' then
    local busy = paused() or redis.call('ZCARD', CREDITS) >= LIMIT
    for _, other in ipairs(all_queues()) do busy = busy or waiting(other) > 0 end
    if busy then return 'busy' end
  elseif waiting(queue) >= BACKLOG then
    return 'full'
  end
  local job = open('job:' .. id)
  ids[job] = id
  job.seq = int(redis.call('INCR', 'seq'))
  job.queue, job.request, job.estimate, job.phase = queue, request, estimate, 'waiting'
  job.created, job.deadline, job.traceparent = int(NOW), given(deadline), given(trace)
  set_status(job, 'pending')
  milestone(job)
  if given(key) then
    job.idempotency = key
    redis.call('SET', 'idempotency:' .. key, given(print) and id .. ' ' .. print or id)
  end
  if job.deadline then redis.call('ZADD', DEADLINES, deadline, id) end
  if at_once == '1' then
    wake(queue)
    admit(job)
  else
    enqueue(job)
    pump()
  end
  return 'created', { id }
end

function T.published()
  local id, kind, delivery = unpack(A)
  local job = load(id)
  if not job then return 'ok' end
  if kind ~= 'requested' and kind ~= 'continued' then
    if tonumber(redis.call('ZSCORE', OUTBOX, id) or '') == tonumber(delivery) then
      redis.call('ZREM', OUTBOX, id)
    end
  elseif job.delivery == delivery and not job.token and not job.result
    and redis.call('ZSCORE', CREDITS, id) then
    redis.call('ZADD', CREDITS, due_after(job, GRACE), id)
  end
  return 'ok'
end

function T.claim()
  local id, token, slot = unpack(A)
  local job = load(id)
  if not job then return 'unknown' end
  if terminal(job) then return 'ended' end
  if not redis.call('ZSCORE', CREDITS, id) then return 'no_credit' end
  if job.token == token and leased(job) and not job.result then return 'lease', { id } end -- asked again
  if not job.result then
    if leased(job) then return 'leased' end
    if job.token then strike_lost(job) end
    if decide_own_end(job) then
      release(job)
      redis.call('ZADD', CREDITS, int(NOW + UNCOMPLETED), id)
    end
  end
  if job.result then
    deliver(job, job.result)
    return 'answered'
  end
  job.attempt = int(num(job.attempt) + 1)
  job.token, job.slot, job.lease_until = token, given(slot), int(NOW + LEASE)
  job.claimed, job.started = int(NOW), job.started or int(NOW)
  job.step_at_claim, job.step = job.checkpoint_step, job.checkpoint_step
  job.reissues, job.yielded, job.unkept = nil, nil, nil
  job.phase = 'encoding_prompt'
  set_status(job, 'processing')
  milestone(job)
  redis.call('ZADD', CREDITS, job.lease_until, id)
  pool().pauses_in_a_row = nil
  return 'lease', { id }
end

function T.renew()
  local id, token, phase, step = unpack(A)
  local job = fenced(id, token)
  if not job then return 'lost' end
  job.lease_until = int(NOW + LEASE)
  redis.call('ZADD', CREDITS, job.lease_until, id)
  local stepped = num(job.step) ~= num(step)
  job.step = step
  if job.phase ~= phase then
    job.phase = phase
    milestone(job)
  elseif stepped then
    show(job)
  end
  return job.cancel and 'cancel' or late(job) and 'deadline' or 'ok'
end

-- A[5]: the checkpoint that the holder found to be of no use, if it did. Only that one gives way to fewer steps.
function T.checkpoint()
  local id, token, key, step = unpack(A)
  local job = fenced(id, token)
  if not job then return 'lost' end
  if num(step) < num(job.checkpoint_step) and job.checkpoint ~= given(A[5]) then return 'ok' end
  local progress = num(step) > num(job.checkpoint_step)
  job.checkpoint, job.checkpoint_step = key, step
  if progress then job.strikes, job.reasons = nil, nil end
  if progress then job.excuses = nil end
  return 'ok'
end

-- The object store is away: what this attempt has to show for its steps cannot be shown.
function T.unkept()
  local id, token, step = unpack(A)
  local job = fenced(id, token)
  if not job then return 'lost' end
  job.unkept = step
  return 'ok'
end

T['yield'] = function()
  local id, token, reason = unpack(A)
  local job = fenced(id, token)
  if not job then
    job = load(id)
    -- Asked again: the answer was lost on the way, and nothing has happened since.
    if job and job.yielded == token and job.delivery == job.since and not job.result then
      deliver(job, 'continued')
    end
    return 'ok'
  end
  end_attempt(job, job.cancel and 'cancelled' or late(job) and 'failed' or 'continued')
  if not job.cancel and not late(job) then
    strike(job, given(reason) or 'ended its slice without a step that was kept')
  end
  decide_own_end(job, token)
  if job.result then
    redis.call('ZADD', CREDITS, int(NOW + UNCOMPLETED), id)
    deliver(job, job.result)
    return 'ok'
  end
  release(job)
  job.yielded = token
  new_delivery(job)
  job.since = job.delivery
  -- A reply is as good as published: the Broker that lost it delivers again what it answers.
  redis.call('ZADD', CREDITS, due_after(job, GRACE), id)
  deliver(job, 'continued')
  return 'ok'
end

function T.late()
  local id, delivery = unpack(A)
  local job = load(id)
  if job and job.result then -- whatever comes after it is answered with it, as claim does
    deliver(job, job.result)
    return 'answered'
  end
  if not job or job.delivery ~= delivery or job.token or terminal(job)
    or not redis.call('ZSCORE', CREDITS, id) then
    return 'ok'
  end
  new_delivery(job)
  job.reissues = int(num(job.reissues) + 1)
  redis.call('ZADD', CREDITS, due_after(job, GRACE), id)
  deliver(job, 'continued')
  return 'ok'
end

local function decide_by_worker(job, kind, token, code, message)
  decide(job, kind, token, code, message)
  for i, name in ipairs(ARTIFACT) do job[name] = given(A[5 + i]) end
end

function T.record()
  local id, kind, token, code, message = unpack(A)
  local job = fenced(id, token)
  if job then
    end_attempt(job, kind)
    decide_by_worker(job, kind, token, code, message)
    redis.call('ZADD', CREDITS, int(NOW + UNCOMPLETED), id)
  else
    job = load(id)
    if not job or not job.result or job.result_token ~= token then return 'ok' end
  end
  deliver(job, job.result)
  return 'ok'
end

function T.complete()
  local id, kind, token, code, message = unpack(A)
  local job = load(id)
  if not job then return 'unknown' end
  if not terminal(job) then
    if job.result then
      if job.result == kind and (job.result_token or '') == token then finish(job, true) end
    elseif given(token) and job.token == token then
      decide_by_worker(job, kind, token, code, message)
      finish(job, true)
    end
  end
  pump()
  return 'ok'
end

function T.cancel()
  local id = unpack(A)
  local job = load(id)
  if not job then return 'unknown' end
  if terminal(job) then
    -- Asked again, and nobody has published the end yet.
    if redis.call('ZSCORE', OUTBOX, id) then deliver(job, job.status) end
  elseif job.result or job.cancel then
    return 'ok', { id }
  elseif job.token then
    job.cancel = '1'
    show(job)
  else
    job.cancel = '1'
    decide(job, 'cancelled')
    finish(job)
    pump()
  end
  return 'ok', { id }
end

function T.due()
  local due = redis.call('ZRANGEBYSCORE', CREDITS, '-inf', int(NOW), 'LIMIT', 0, A[1])
  return 'ok', nil, due
end

local function reap_one(job, id)
  if job.result then
    finish(job)
    return 'completed'
  elseif job.token and leased(job) then
    redis.call('ZADD', CREDITS, job.lease_until, id)
    return 'leased'
  elseif job.token then
    return mend_lost_lease(job)
  elseif decide_own_end(job) then
    finish(job)
    return 'ended'
  elseif num(job.reissues) >= REISSUES then
    requeue(job)
    pause_pool()
    return 'requeued'
  end
  new_delivery(job)
  job.reissues = int(num(job.reissues) + 1)
  redis.call('ZADD', CREDITS, due_after(job, UNPUBLISHED), id)
  deliver(job, job.status == 'pending' and 'requested' or 'continued')
  return 'reissued'
end

function T.reap()
  local id = unpack(A)
  local due = tonumber(redis.call('ZSCORE', CREDITS, id) or '')
  if not due or due > NOW then return 'nothing' end
  local job = load(id)
  local did
  if not job or terminal(job) then
    redis.call('ZREM', CREDITS, id) -- its record was removed by hand
    did = 'freed'
  else
    did = reap_one(job, id)
  end
  pump()
  return did
end

function T.dead_letter()
  local id, delivery, refused, reason = unpack(A)
  local job = load(id)
  if not job then return 'unknown' end
  if terminal(job) or job.result or leased(job) or not job.since or num(delivery) < num(job.since)
    or not redis.call('ZSCORE', CREDITS, id) then
    return 'nothing'
  end
  local did
  if refused ~= '1' then
    if job.token then
      did = mend_lost_lease(job)
    else
      requeue(job)
      did = 'requeued'
    end
    pause_pool()
  else
    if job.token then strike_lost(job) end
    job.pauses = int(num(job.pauses) + 1)
    job.refusals = noted(job.refusals, reason)
    if not decide_own_end(job) and num(job.pauses) >= PAUSES then
      decide(job, 'failed', '', 'undeliverable', 'refused ' .. job.pauses .. ' times: ' .. job.refusals)
    end
    if job.result then
      finish(job)
      did = 'ended'
    else
      give_up_credit(job)
      local wake_at = int(NOW + JOB_PAUSE * 4 ^ (num(job.pauses) - 1))
      redis.call('ZADD', 'delayed:' .. job.queue, wake_at, id)
      did = 'delayed'
    end
  end
  pump()
  return did
end

function T.tick()
  local late_ids = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', int(NOW), 'LIMIT', 0, BATCH)
  for _, id in ipairs(late_ids) do
    local job = load(id)
    if not job or terminal(job) then
      redis.call('ZREM', DEADLINES, id)
    elseif not redis.call('ZSCORE', CREDITS, id) then -- else its lease's holder, claim or reap ends it
      if decide_own_end(job) then finish(job) end
    end
  end
  for _, queue in ipairs(all_queues()) do
    local delayed = 'delayed:' .. queue
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', delayed, '-inf', int(NOW), 'LIMIT', 0, BATCH)) do
      redis.call('ZREM', delayed, id)
      local job = load(id)
      if job and not terminal(job) then enqueue(job) end
    end
  end
  pump()
  local left = redis.call('ZRANGEBYSCORE', OUTBOX, '-inf', int(NOW - OUTBOX_AGE), 'LIMIT', 0, BATCH)
  for _, id in ipairs(left) do
    local job = load(id)
    if job and terminal(job) then deliver(job, job.status) else redis.call('ZREM', OUTBOX, id) end
  end
  return 'ok'
end

-- Redis was away: no lease that it could not renew is lost for that. Said first on each new connection.
function T.boot()
  local run_id = unpack(A)
  if pool().run_id == run_id then return 'same' end
  pool().run_id = run_id
  for _, id in ipairs(redis.call('ZRANGE', CREDITS, 0, -1)) do
    local job = load(id)
    if job and job.token and not job.result then
      job.lease_until = int(math.max(num(job.lease_until), NOW + LEASE))
      redis.call('ZADD', CREDITS, job.lease_until, id)
    end
  end
  return 'new'
end

-- Retention ----------------------------------------------------------------------------------------------

local function forget_key(job, id)
  if not job.idempotency then return end
  local key = 'idempotency:' .. job.idempotency
  local known = string.match(redis.call('GET', key) or '', '^%S+')
  if known == id then redis.call('DEL', key) end
end

function T.expire()
  local limit, retention = num(A[1]), num(A[2])
  local marked = redis.call('ZRANGE', EXPIRED, 0, limit - 1)
  local old = {}
  if limit > #marked then
    old = redis.call('ZRANGEBYSCORE', ENDED, '-inf', int(NOW - retention), 'LIMIT', 0, limit - #marked)
  end
  for _, id in ipairs(old) do
    local job = load(id)
    redis.call('ZREM', ENDED, id)
    redis.call('ZREM', OUTBOX, id)
    if job then
      redis.call('ZREM', 'index:' .. job.queue .. ':' .. job.status, id)
      forget_key(job, id)
      job.expired = int(NOW)
    end
    redis.call('ZADD', EXPIRED, int(NOW), id)
    marked[#marked + 1] = id
  end
  return 'ok', nil, marked
end

function T.forget()
  local id = unpack(A)
  if not redis.call('ZSCORE', EXPIRED, id) then return 'nothing' end
  redis.call('ZREM', EXPIRED, id)
  redis.call('DEL', 'job:' .. id)
  return 'ok'
end

-- Where the sweep of the object store goes on, for one of all who ask, however many reapers there are and
-- however short they live: the next may go on when it said how far it came, or after SWEEP_STEP. A round
-- begins `every` microseconds after the one before, and so long after the first question of all.
function T.sweep()
  local p = pool()
  if not p.sweep_place then
    local last = p.swept
    if last and NOW - num(last) < num(A[1]) and num(last) <= NOW then return 'no' end
    p.swept = int(NOW)
    if not last then return 'no' end
    p.sweep_place = ''
  elseif num(p.sweep_until) > NOW and num(p.sweep_until) <= NOW + SWEEP_STEP then
    return 'no'
  end
  p.sweep_until = int(NOW + SWEEP_STEP)
  return 'yes', nil, { p.sweep_place }
end

-- Only from where it was: who took too long moves nobody back.
function T.swept()
  local from, to, over = unpack(A)
  local p = pool()
  if p.sweep_place == from then
    p.sweep_place, p.sweep_until = to, nil
    if over == '1' then p.sweep_place = nil end
  end
  return 'ok'
end

-- The books -----------------------------------------------------------------------------------------------
--
-- The transitions keep them right; this finds what a person, a restored backup or a bug has done. A round
-- walks through all sets in batches. Where it stands is kept in Redis, and is nobody's in particular.

local AUDIT = 'audit:' .. POOL
local STATUSES = { 'pending', 'processing', 'completed', 'failed', 'cancelled' }
local READ = { 'status', 'queue', 'seq', 'expired', 'token', 'result', 'since' }

local function books()
  local keys = { CREDITS }
  for _, queue in ipairs(all_queues()) do
    keys[#keys + 1] = 'backlog:' .. queue
    keys[#keys + 1] = 'delayed:' .. queue
    for _, status in ipairs(STATUSES) do keys[#keys + 1] = 'index:' .. queue .. ':' .. status end
  end
  return keys
end

-- The fields that tell where a job belongs, of a record that may have a thousand others beside it.
local function facts(id)
  if hashes['job:' .. id] then return hashes['job:' .. id] end
  local values, job = redis.pcall('HMGET', 'job:' .. id, unpack(READ)), {}
  for i, name in ipairs(READ) do job[name] = values[i] or nil end -- Lua gets false for what is absent
  return job
end

local function has(key, id) return redis.call('ZSCORE', key, id) end

-- A job whose place is none or more than one: work that is done, or may be, keeps its credit.
local function put_right(id, place)
  local job = load(id)
  for key in pairs(place) do redis.call('ZREM', key, id) end
  if job.token or job.result or (place[CREDITS] and job.since) then
    redis.call('ZADD', CREDITS, int(NOW), id) -- the reaper looks at once
    return 'has its credit'
  end
  give_up_credit(job)
  local delayed = 'delayed:' .. job.queue
  if place[delayed] then
    redis.call('ZADD', delayed, place[delayed], id)
    return 'is delayed'
  end
  enqueue(job)
  return 'waits'
end

-- What is wrong about a job that was found under a key, after it was mended; nothing where all is right.
local function examine(key, id)
  local job = facts(id)
  local status, queue = job.status, job.queue
  if not (status and queue and tonumber(job.seq)) or job.expired then
    redis.call('ZREM', key, id)
    return 'no such job, in ' .. key .. ': removed'
  end
  local index = 'index:' .. queue .. ':' .. status
  local wrong
  if not has(index, id) then
    redis.call('ZADD', index, job.seq, id)
    wrong = 'not in ' .. index .. ': added'
  end
  if key ~= index and string.sub(key, 1, 6) == 'index:' then
    redis.call('ZREM', key, id)
    return 'is ' .. status .. ', in ' .. key .. ': removed'
  end
  local places, count = {}, 0
  for _, place in ipairs({ CREDITS, 'backlog:' .. queue, 'delayed:' .. queue }) do
    local score = has(place, id)
    if score then places[place], count = score, count + 1 end
  end
  if terminal(job) then
    for place in pairs(places) do
      redis.call('ZREM', place, id)
      wrong = 'has ended, in ' .. place .. ': removed'
    end
    if not has(ENDED, id) then
      redis.call('ZADD', ENDED, int(NOW), id)
      wrong = 'has ended, not in ' .. ENDED .. ': added'
    end
    return wrong
  end
  if key ~= index and not places[key] then -- of another queue
    redis.call('ZREM', key, id)
    wrong = 'in ' .. key .. ', of another queue: removed'
  end
  local admitted = job.token or job.result or job.since
  local odd = (places[CREDITS] ~= nil) ~= (admitted ~= nil)
  if count ~= 1 or odd then
    wrong = 'in ' .. count .. ' places' .. (odd and ', the wrong one' or '') .. ': ' .. put_right(id, places)
  end
  return wrong
end

-- Up to about `limit` members. The reply's `extra`: how many, then job and what was wrong, in turn.
function T.audit()
  local limit = num(A[1])
  local at, cursor = string.match(redis.call('GET', AUDIT) or '', '^(%S+) (%d+)$')
  local checked, wrongs, started = 0, {}, false
  local keys = books()
  local known = false
  for _, key in ipairs(keys) do known = known or key == at end
  if not known then at, cursor = keys[1], '0' end
  for n, key in ipairs(keys) do
    started = started or key == at
    while started and checked < limit do
      local page = redis.call('ZSCAN', key, cursor, 'COUNT', limit)
      cursor = page[1]
      for i = 1, #page[2], 2 do
        local wrong = examine(key, page[2][i])
        if wrong then wrongs[#wrongs + 1], wrongs[#wrongs + 2] = page[2][i], wrong end
        checked = checked + 1
      end
      if cursor == '0' then break end
    end
    if started and checked >= limit then
      local following = cursor == '0' and keys[n + 1] or cursor ~= '0' and key
      if following then
        redis.call('SET', AUDIT, following .. ' ' .. cursor)
        pump()
        return 'more', nil, { int(checked), unpack(wrongs) }
      end
    end
  end
  redis.call('DEL', AUDIT)
  pump()
  return 'end', nil, { int(checked), unpack(wrongs) }
end

-- Reading ------------------------------------------------------------------------------------------------

function T.get()
  if not load(A[1]) then return 'unknown' end
  return 'ok', { A[1] }
end

function T.find()
  local known = same_job(A[1])
  return known and 'ok' or 'unknown', known and { known }
end

-- The newest jobs below a seq: a merge of the index sets, read as far as they are needed.
function T.list()
  local below, limit, wanted_queue = A[1], num(A[2]), given(A[3])
  local heads = {}
  for _, queue in ipairs(wanted_queue and { wanted_queue } or all_queues()) do
    for status in string.gmatch(A[4], '%S+') do
      heads[#heads + 1] = { key = 'index:' .. queue .. ':' .. status, below = below, at = 1, page = {} }
    end
  end
  local chunk = math.max(8, math.ceil(2 * limit / #heads))
  local function peek(head)
    if head.at > #head.page and not head.over then
      head.page = redis.call('ZREVRANGEBYSCORE', head.key, head.below, '-inf', 'WITHSCORES', 'LIMIT', 0, chunk)
      head.over, head.at = #head.page < 2 * chunk, 1
      if #head.page > 0 then head.below = '(' .. head.page[#head.page] end
    end
    return tonumber(head.page[head.at + 1] or '')
  end
  local found, last = {}, ''
  while #found < limit do
    local best, most
    for _, head in ipairs(heads) do
      local seq = peek(head)
      if seq and (not most or seq > most) then best, most = head, seq end
    end
    if not best then return 'end', found end
    found[#found + 1], last = best.page[best.at], int(most)
    best.at = best.at + 2
  end
  for _, head in ipairs(heads) do
    if peek(head) then return 'more', found, { last } end
  end
  return 'end', found
end

function T.stats() return 'ok' end

function T.ping()
  pool().limit = int(LIMIT)
  redis.call('HSET', 'pool:' .. POOL, 'limit', pool().limit) -- always a write, which is what is asked for
  return 'ok'
end

-- The reply ----------------------------------------------------------------------------------------------

local function shown(id)
  local read, flat = true, {}
  if hashes['job:' .. id] then
    for name, value in pairs(hashes['job:' .. id]) do
      flat[#flat + 1] = name
      flat[#flat + 1] = value
    end
  else
    flat = redis.pcall('HGETALL', 'job:' .. id) -- what is no hash must not spoil a page
    read = not flat.err
  end
  local fields = {}
  if read then
    for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
  end
  local before_it = -1
  if fields.phase == 'waiting' and fields.queue and tonumber(fields.seq) then
    before_it = redis.call('ZCOUNT', 'backlog:' .. fields.queue, '-inf', '(' .. fields.seq)
  end
  return { id, read and flat or {}, before_it }
end

local function shown_pool()
  local rows = {}
  for _, queue in ipairs(all_queues()) do
    rows[#rows + 1] = { queue, waiting(queue), pool()['measured:' .. queue] or '', tostring(weight_of(queue)) }
  end
  return { NOW, num(pool().paused_until), redis.call('ZCARD', CREDITS), pool().measured or '', rows }
end

local transition = T[ARGV[1]]
if not transition then return redis.error_reply('ERR no transition has this name') end
local tag, jobs, extra = transition()
write_all()
local views = {}
for _, id in ipairs(jobs or {}) do views[#views + 1] = shown(id) end
local with_pool = jobs or tag == 'full' or tag == 'busy' or ARGV[1] == 'stats'
return { tag, deliveries, views, with_pool and shown_pool() or {}, extra or {} }
