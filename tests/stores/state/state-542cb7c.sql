-- A state as commit 542cb7c writes it: a row of every kind, a copy half-way, the lease expired.
BEGIN TRANSACTION;
CREATE TABLE designs (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	fingerprint TEXT NOT NULL, 
	design TEXT NOT NULL, 
	PRIMARY KEY ("plan", route)
);
INSERT INTO "designs" VALUES('shop','orders','{"use_case": "entity"}','{"table": "orders"}');
CREATE TABLE findings (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	address BLOB NOT NULL, 
	position BLOB, 
	id TEXT NOT NULL, 
	pass TEXT NOT NULL, 
	PRIMARY KEY ("plan", route, kind, address)
);
INSERT INTO "findings" VALUES('shop','orders','differs',X'6E3A35',X'0E000000105F6964000500000000','n:5','p1');
CREATE TABLE halts (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	why TEXT NOT NULL, 
	PRIMARY KEY ("plan", route)
);
INSERT INTO "halts" VALUES('shop','orders','too many');
CREATE TABLE leases (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	owner TEXT NOT NULL, 
	fence INTEGER NOT NULL, 
	expires FLOAT NOT NULL, 
	PRIMARY KEY ("plan", route)
);
INSERT INTO "leases" VALUES('shop','orders','elsewhere/1 pid:[1] 1',1,1763971260.0);
INSERT INTO "leases" VALUES('shop','sessions','elsewhere/1 pid:[1] 1',1,1763971260.0);
CREATE TABLE loads (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	memory TEXT NOT NULL, 
	PRIMARY KEY ("plan", route)
);
INSERT INTO "loads" VALUES('shop','orders','{"import": "arn:1"}');
CREATE TABLE mendings (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	command TEXT NOT NULL, 
	done TEXT NOT NULL, 
	kind TEXT NOT NULL, 
	address BLOB NOT NULL, 
	id TEXT NOT NULL, 
	at FLOAT NOT NULL, 
	PRIMARY KEY ("plan", route, number)
);
INSERT INTO "mendings" VALUES('shop','orders',1,'repair','copied','missing',X'636166E9','n:9',1763971200.0);
CREATE TABLE meta (
	"key" TEXT NOT NULL, 
	value TEXT, 
	PRIMARY KEY ("key")
);
INSERT INTO "meta" VALUES('schema','2');
CREATE TABLE partitions (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	lower BLOB, 
	upper BLOB, 
	position BLOB, 
	done BOOLEAN NOT NULL, 
	tally TEXT NOT NULL, 
	PRIMARY KEY ("plan", route, number)
);
INSERT INTO "partitions" VALUES('shop','orders',0,NULL,X'0E000000105F6964003200000000',X'0E000000105F6964001400000000',0,'{"read": 20, "dropped": 1, "rejected": 2, "copied": 17, "records": 17, "id_types": {"int": 20}, "losses": {"rounded": 1}, "lost": [["price", "rounded", 1, ["n:7"]]], "accepted": 0, "sizes": {}}');
INSERT INTO "partitions" VALUES('shop','orders',1,X'0E000000105F6964003200000000',NULL,NULL,1,'{"read": 0, "dropped": 0, "rejected": 0, "copied": 0, "records": 0, "id_types": {}, "losses": {}, "lost": [], "accepted": 0, "sizes": {}}');
INSERT INTO "partitions" VALUES('shop','sessions',0,NULL,NULL,NULL,0,'{}');
CREATE TABLE pass_parts (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	stage TEXT NOT NULL, 
	lower BLOB, 
	upper BLOB, 
	position BLOB, 
	done BOOLEAN NOT NULL, 
	tally TEXT NOT NULL, 
	size INTEGER NOT NULL, 
	PRIMARY KEY ("plan", route, number)
);
INSERT INTO "pass_parts" VALUES('shop','orders',0,'list',NULL,NULL,NULL,0,'{}',0);
INSERT INTO "pass_parts" VALUES('shop','orders',1,'compare',NULL,X'0E000000105F6964003200000000',X'0E000000105F6964000A00000000',0,'{"read": 10, "dropped": 0, "rejected": 0, "copied": 10, "records": 0, "id_types": {}, "losses": {}, "lost": [], "accepted": 0, "sizes": {}}',77);
CREATE TABLE passes (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	id TEXT NOT NULL, 
	began FLOAT NOT NULL, 
	resumed INTEGER NOT NULL, 
	scope TEXT NOT NULL, 
	PRIMARY KEY ("plan", route)
);
INSERT INTO "passes" VALUES('shop','orders','p2',1763971200.0,0,'{"level": "full"}');
CREATE TABLE rejects (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	id TEXT NOT NULL, 
	stage TEXT NOT NULL, 
	code TEXT NOT NULL, 
	field TEXT NOT NULL, 
	reason TEXT NOT NULL, 
	attempts INTEGER NOT NULL, 
	first FLOAT NOT NULL, 
	last FLOAT NOT NULL, 
	position BLOB, 
	document TEXT, 
	accepted_by TEXT, 
	accepted_at FLOAT, 
	accepted_why TEXT, 
	PRIMARY KEY ("plan", route, id, stage)
);
INSERT INTO "rejects" VALUES('shop','orders','n:3','map','E-MAP-VALUE','price','too large',1,1763971200.0,1763971200.0,X'0E000000105F6964000300000000','{"_id": {"$numberInt": "3"}, "price": {"$numberInt": "1"}}',NULL,NULL,NULL);
INSERT INTO "rejects" VALUES('shop','orders','n:4','write','E-DDB-ITEM','','refused',1,1763971200.0,1763971200.0,X'0E000000105F6964000400000000','{"_id": {"$numberInt": "4"}}','anna',1763971200.0,'test data');
CREATE TABLE routes (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	fingerprint TEXT NOT NULL, 
	source_identity TEXT NOT NULL, 
	target_identity TEXT NOT NULL, 
	started FLOAT NOT NULL, 
	backfill_s FLOAT NOT NULL, 
	outcome TEXT, 
	recopied BOOLEAN NOT NULL, 
	PRIMARY KEY ("plan", route)
);
INSERT INTO "routes" VALUES('shop','orders','{"use_case": "entity"}','source-uuid','table-id',1763971200.0,12.5,NULL,1);
INSERT INTO "routes" VALUES('shop','sessions','{}','source-uuid','prefix',1763971200.0,0.0,NULL,0);
CREATE TABLE runs (
	"plan" TEXT NOT NULL, 
	began TEXT NOT NULL, 
	command TEXT NOT NULL, 
	report BLOB, 
	PRIMARY KEY ("plan", began)
);
INSERT INTO "runs" VALUES('shop','2026-11-23T08:00:00.000000+00:00','backfill',X'7B22706C616E223A202273686F70227D');
CREATE TABLE scans (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	id BLOB NOT NULL, 
	hash BLOB NOT NULL, 
	pass_ INTEGER NOT NULL, 
	PRIMARY KEY ("plan", route, id)
);
INSERT INTO "scans" VALUES('shop','orders',X'0E000000105F6964000100000000',X'68617368206F662031',3);
INSERT INTO "scans" VALUES('shop','orders',X'0E000000105F6964000200000000',X'68617368206F662032',3);
CREATE TABLE sweeps (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	PRIMARY KEY ("plan", route)
);
INSERT INTO "sweeps" VALUES('shop','orders');
CREATE TABLE syncs (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	began BIGINT NOT NULL, 
	time BIGINT NOT NULL, 
	token BLOB NOT NULL, 
	at FLOAT NOT NULL, 
	lag_s FLOAT, 
	events INTEGER NOT NULL, 
	applied INTEGER NOT NULL, 
	deleted INTEGER NOT NULL, 
	halted TEXT NOT NULL, 
	PRIMARY KEY ("plan", route)
);
INSERT INTO "syncs" VALUES('shop','orders',30064771073,34359738370,X'6C61746572',1763971200.0,0.5,3,2,1,'');
CREATE TABLE wishes (
	"plan" TEXT NOT NULL, 
	route TEXT NOT NULL, 
	wanted INTEGER NOT NULL, 
	PRIMARY KEY ("plan", route)
);
INSERT INTO "wishes" VALUES('shop','orders',2);
INSERT INTO "wishes" VALUES('shop','sessions',-1);
COMMIT;
