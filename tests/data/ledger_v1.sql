BEGIN TRANSACTION;
CREATE TABLE attempts (
	id INTEGER NOT NULL, 
	store_hash VARCHAR(64) NOT NULL, 
	destination VARCHAR(16) NOT NULL, 
	order_id BIGINT NOT NULL, 
	run_id VARCHAR(32) NOT NULL, 
	number INTEGER NOT NULL, 
	started_at BIGINT NOT NULL, 
	ended_at BIGINT NOT NULL, 
	result VARCHAR(16) NOT NULL, 
	reason VARCHAR(300) NOT NULL, 
	sha256 VARCHAR(64), 
	answer_status INTEGER, 
	answer VARCHAR(200) NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "attempts" VALUES(1,'sandbox1','0123456789abcdef',100,'8de2cfd90ccce3a2',1,1793491200000,1793491200000,'delivered','why','d6aafd6ba87bcbe46564f709254089bd288567d65a45bb8109fcdfb8d67672ed',200,'ok');
INSERT INTO "attempts" VALUES(2,'sandbox1','0123456789abcdef',101,'8de2cfd90ccce3a2',1,1793491200000,1793491200000,'unknown','why','a665d2a5bc3da17a7ad4552f6b3ef4db45c9ce46386fdb2dd633ec2016e38844',NULL,'ok');
INSERT INTO "attempts" VALUES(3,'sandbox1','0123456789abcdef',102,'8de2cfd90ccce3a2',1,1793491200000,1793491200000,'failed','why','12e3b03db1a05542423815e3705d282997a139e01fa7b7f728c2b64238b5bccc',NULL,'ok');
CREATE TABLE bookmarks (
	store_hash VARCHAR(64) NOT NULL, 
	destination VARCHAR(16) NOT NULL, 
	begins_at BIGINT NOT NULL, 
	synced_until BIGINT NOT NULL, 
	PRIMARY KEY (store_hash, destination)
)
 WITHOUT ROWID

;
INSERT INTO "bookmarks" VALUES('sandbox1','0123456789abcdef',1793491200000,1793491200000);
CREATE TABLE ledger_meta (
	"key" VARCHAR(40) NOT NULL, 
	value VARCHAR(200) NOT NULL, 
	PRIMARY KEY ("key")
);
INSERT INTO "ledger_meta" VALUES('schema_version','1');
CREATE TABLE orders (
	store_hash VARCHAR(64) NOT NULL, 
	destination VARCHAR(16) NOT NULL, 
	order_id BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason VARCHAR(300) NOT NULL, 
	sha256 VARCHAR(64), 
	modified_at BIGINT, 
	attempts INTEGER NOT NULL, 
	arrivals INTEGER NOT NULL, 
	deliveries INTEGER NOT NULL, 
	run_id VARCHAR(32), 
	first_seen_at BIGINT NOT NULL, 
	updated_at BIGINT NOT NULL, 
	sent_at BIGINT, 
	delivered_at BIGINT, 
	answer_status INTEGER, 
	answer VARCHAR(200) NOT NULL, 
	state_before VARCHAR(16), 
	sha256_before VARCHAR(64), 
	PRIMARY KEY (store_hash, destination, order_id)
)
 WITHOUT ROWID

;
INSERT INTO "orders" VALUES('sandbox1','0123456789abcdef',100,'delivered','why','d6aafd6ba87bcbe46564f709254089bd288567d65a45bb8109fcdfb8d67672ed',1793491200000,1,1,1,NULL,1793491200000,1793491200000,1793491200000,1793491200000,200,'ok',NULL,NULL);
INSERT INTO "orders" VALUES('sandbox1','0123456789abcdef',101,'unknown','why','a665d2a5bc3da17a7ad4552f6b3ef4db45c9ce46386fdb2dd633ec2016e38844',1793491200000,1,1,0,NULL,1793491200000,1793491200000,1793491200000,NULL,NULL,'ok',NULL,NULL);
INSERT INTO "orders" VALUES('sandbox1','0123456789abcdef',102,'failed','why','12e3b03db1a05542423815e3705d282997a139e01fa7b7f728c2b64238b5bccc',1793491200000,1,0,0,NULL,1793491200000,1793491200000,1793491200000,NULL,NULL,'ok',NULL,NULL);
INSERT INTO "orders" VALUES('sandbox1','0123456789abcdef',103,'skipped','status Incomplete',NULL,1793491200000,0,0,0,NULL,1793491200000,1793491200000,NULL,NULL,NULL,'',NULL,NULL);
CREATE TABLE runs (
	id VARCHAR(32) NOT NULL, 
	command VARCHAR(40) NOT NULL, 
	store_hash VARCHAR(64) NOT NULL, 
	destination VARCHAR(16) NOT NULL, 
	started_at BIGINT NOT NULL, 
	ended_at BIGINT, 
	outcome VARCHAR(300) NOT NULL, 
	seen INTEGER NOT NULL, 
	delivered INTEGER NOT NULL, 
	skipped INTEGER NOT NULL, 
	failed INTEGER NOT NULL, 
	unknown INTEGER NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "runs" VALUES('8de2cfd90ccce3a2','backfill','sandbox1','0123456789abcdef',1793491200000,1793491200000,'done',4,1,1,1,1);
CREATE INDEX orders_by_state ON orders (store_hash, destination, state);
CREATE INDEX attempts_by_order ON attempts (store_hash, destination, order_id);
CREATE INDEX runs_by_store ON runs (store_hash, destination, started_at);
COMMIT;
