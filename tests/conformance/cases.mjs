// Lists the cases of an edition of the suite, and what its result files say of other caches.
//   node cases.mjs DIRECTORY
import fs from 'node:fs'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const root = path.resolve(process.argv[2])
const load = async file => (await import(pathToFileURL(path.join(root, file)))).default

const sections = [...await load('tests/index.mjs')]
// Run by the older edition beside those that it lists.
if (fs.existsSync(path.join(root, 'tests/surrogate-control.mjs'))) {
  sections.push(await load('tests/surrogate-control.mjs'))
}
const cases = sections.flatMap(section => section.tests.filter(test => !test.browser_only).map(test => ({
  section: section.id, id: test.id, kind: test.kind ?? 'required', needs: test.depends_on ?? []
})))
const others = (await load('results/index.mjs')).filter(other => other.type !== 'browser').map(other => {
  const results = JSON.parse(fs.readFileSync(path.join(root, 'results', other.file)))
  const passed = Object.keys(results).filter(id => results[id] === true)
  return { name: other.name, version: other.version, passed }
})
console.log(JSON.stringify({ cases, others }))
